"""A run's events as they happen: server-sent events, and the same ones over WebSocket.

Both start with the events that are kept, or after the id the reader names, and end with the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from examples.backtest_engine.backtest_endpoints import engine_of
from examples.backtest_engine.event_log import Event
from examples.backtest_engine.runs import Backtest
from examples.errors import NotFound
from examples.fields import Fields

KEEP_ALIVE_SECONDS = 15.0
MAX_EVENT_ID = 10**9

SERVICE_RESTART = 1012
UNKNOWN_RUN = 4404
WRONG_POSITION = 4422


async def send_events(request: Request) -> Response:
    """Answer with server-sent events. A browser that reconnects says where it was with Last-Event-ID."""
    run = engine_of(request).backtests.get(request.path_params["id"])
    position = request.headers.get("last-event-id", request.query_params.get("after", "0"))
    query = Fields({"after": position}, ("after",), from_text=True)
    after = query.integer("after", 0, 0, MAX_EVENT_ID)
    query.check()
    # X-Accel-Buffering: nginx would otherwise hold the events back until its buffer is full.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(headers=headers, media_type="text/event-stream")
    return StreamingResponse(_event_frames(run, after), headers=headers, media_type="text/event-stream")


async def _event_frames(run: Backtest, after: int) -> AsyncIterator[str]:
    async for event in run.events.follow(after, KEEP_ALIVE_SECONDS):
        if event is None:
            # A comment: it keeps proxies from taking a quiet stream for a dead one.
            yield ": waiting\n\n"
        else:
            yield f"id: {event.id}\nevent: {event.kind}\ndata: {event.data}\n\n"


async def stream_events(websocket: WebSocket) -> None:
    """Send each event as one JSON text message; close with 1000 when the run has ended."""
    sockets: set[asyncio.Task[None]] = websocket.app.state.sockets
    current = asyncio.current_task()
    assert current is not None
    sockets.add(current)
    try:
        await _stream(websocket)
    finally:
        sockets.discard(current)


async def _stream(websocket: WebSocket) -> None:
    # Accepted first in any case: before that, a refusal reaches a browser as a bare 1006.
    await websocket.accept()
    engine = engine_of(websocket)
    after = websocket.query_params.get("after", "0")
    if not after.isascii() or not after.isdecimal() or len(after) > 9:
        return await websocket.close(WRONG_POSITION, "after must be an event id")
    try:
        run = engine.backtests.get(websocket.path_params["id"])
    except NotFound:
        return await websocket.close(UNKNOWN_RUN, "no such backtest")
    sending = asyncio.create_task(_send_messages(websocket, run, int(after)))
    leaving = asyncio.create_task(_until_client_leaves(websocket))
    await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    left = leaving.done() or sending.exception() is not None
    for task in (sending, leaving):
        task.cancel()
    await asyncio.gather(sending, leaving, return_exceptions=True)
    if left:
        return None
    if engine.stopping:
        return await websocket.close(SERVICE_RESTART, "the service is stopping")
    return await websocket.close(1000, run.state)


async def _send_messages(websocket: WebSocket, run: Backtest, after: int) -> None:
    async for event in run.events.follow(after, KEEP_ALIVE_SECONDS):
        if event is not None:
            await websocket.send_text(_message(event))


async def _until_client_leaves(websocket: WebSocket) -> None:
    """Read and drop what the client sends: this is the only way to learn that it has gone."""
    try:
        while True:
            if (await websocket.receive())["type"] == "websocket.disconnect":
                return
    except WebSocketDisconnect:
        return


def _message(event: Event) -> str:
    # The data is JSON already.
    return f'{{"id":{event.id},"event":"{event.kind}","data":{event.data}}}'
