"""Carry messages between a client's WebSocket and an upstream's, and end both in good order.

No task, dispatch or formatting for a message: a loop reads the ASGI server and writes frames; what
the upstream leg has read is sent on from its own callback, one message after the other. Neither reads on
while its far end takes no more, which is all the back-pressure there is. Time is looked at once a second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from routing.pipeline.errors import Refusal, Unauthenticated
from routing.pipeline.exchange import Exchange
from routing.relay import close_codes
from routing.relay.frames import BINARY, TEXT, UpstreamLeg
from routing.relay.meter import Meter
from routing.snapshot import CompiledRoute

STALL_SECONDS = 30.0
# How long either peer has to answer a close frame, or to take what was sent before it.
CLOSE_SECONDS = 2.0

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Relay:
    """One accepted connection. Raises nothing: how it ended is in `code`, `reason` and `closed_by`."""

    def __init__(self, exchange: Exchange, route: CompiledRoute, receive: Receive, send: Send) -> None:
        self.exchange = exchange
        self.route = route
        self.leg = UpstreamLeg(self._pass_on, route.websocket_options.max_message_bytes)
        self.messages_in = 0
        self.code: int | None = None
        self.reason = ""
        self.closed_by = ""
        self._receive = receive
        self._send = send
        self._options = route.websocket_options
        self._settled: asyncio.Future[None] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._client_gone = False
        self._sending = False
        self._draining_up = False
        self._reading_stopped = False
        self._sent = self._size = 0
        now = monotonic()
        self._started = self._active_at = self._heard_at = self._progress_at = now
        self._ended_at = self._pinged_at = 0.0
        self._seen = (0, 0)
        self._progress = (0, 0)
        self._frames = 0
        self._meter: Meter | None = None
        if self._options.messages_per_second or self._options.bytes_per_second:
            self._meter = Meter(self._options.messages_per_second, self._options.bytes_per_second, now)

    async def run(self) -> None:
        """Pump until the connection has ended on both sides, or has been given up."""
        self._task = asyncio.current_task()
        # What came together with the upstream's handshake, before the client was accepted.
        self._pass_on()
        try:
            await self._read_client()
            if self._sending and not self._client_gone:
                self._settled = asyncio.get_running_loop().create_future()
                await asyncio.wait({self._settled}, timeout=CLOSE_SECONDS)
            if not self._client_gone:
                await self._close_client()
            await self.leg.wait_ended(CLOSE_SECONDS)
        finally:
            self.leg.abort()

    async def _read_client(self) -> None:
        """Return when the client has left, or is to be closed."""
        assert self._task is not None
        try:
            await self._to_upstream()
        except asyncio.CancelledError:
            if not self._ended_at:
                self._finish(close_codes.NO_STATUS, "the server ended the connection", "gateway")
                self.leg.send_close(close_codes.GOING_AWAY, "")
                raise
            self._task.uncancel()

    def _stop_reading_client(self) -> None:
        """The ASGI server can't send a close frame while a receive() is pending: take it back."""
        if not self._reading_stopped and self._task is not None:
            self._reading_stopped = True
            if self._task is not asyncio.current_task():
                self._task.cancel()

    # --- the two ways --------------------------------------------------------------------
    async def _to_upstream(self) -> None:
        receive, leg, meter, limit = self._receive, self.leg, self._meter, self._options.max_message_bytes
        exchange, send = self.exchange, leg.transport.send
        while not self._ended_at:
            message = await receive()
            if message["type"] != "websocket.receive":
                self._client_left(message)
                return
            kind, data = BINARY, message.get("bytes")
            if data is None:
                kind, data = TEXT, message["text"].encode()
            size = len(data)
            if size > limit:
                self.end(close_codes.MESSAGE_TOO_BIG, f"messages may have {limit} bytes")
                return
            if meter is not None and not meter.take(size, monotonic()):
                self.end(close_codes.LIMIT_EXCEEDED, "too many messages or bytes a second")
                return
            self.messages_in += 1
            exchange.bytes_in += size
            send(kind, data)
            if leg.paused:
                await self._drain_upstream()

    async def _drain_upstream(self) -> None:
        leg = self.leg
        self._draining_up = True
        while leg.paused and not leg.ended and not self._ended_at:
            leg.resumed = asyncio.get_running_loop().create_future()
            await leg.resumed
        self._draining_up = False

    def _pass_on(self) -> None:
        """Send what has come for the client, one message at a time; called when there is news of the leg."""
        if self._sending or self._ended_at or self._task is None:
            return
        leg = self.leg
        if leg.inbox:
            message, self._size = leg.inbox.popleft()
            self._sending = True
            sent: Any = self._send(message)
            if not hasattr(sent, "add_done_callback"):
                # Granian's sends are futures already; those of other servers are coroutines.
                sent = asyncio.ensure_future(sent)
            sent.add_done_callback(self._passed_on)
        elif leg.closing is not None or leg.ended:
            self._upstream_left()
            self._stop_reading_client()

    def _passed_on(self, sent: Any) -> None:
        self._sending = False
        self._sent += 1
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)
        if sent.cancelled() or sent.exception() is not None:
            # The client has gone: receive() says so as well, and ends the connection.
            return
        self.leg.taken(self._size)
        self._pass_on()

    async def _close_client(self) -> None:
        code = close_codes.sendable(self.code)
        reason = close_codes.close_payload(close_codes.NORMAL, self.reason)[2:].decode()
        # ASGI has no close without a code: 1000 is the nearest.
        closing = {"type": "websocket.close", "code": code or close_codes.NORMAL, "reason": reason}
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._send(closing)
        except TimeoutError:
            # A client that reads nothing finds the connection cut.
            pass

    # --- ends ----------------------------------------------------------------------------
    def _client_left(self, message: dict[str, Any]) -> None:
        self._client_gone = True
        if not self._ended_at:
            code, reason = message.get("code", close_codes.NO_STATUS), message.get("reason") or ""
            self._finish(code, reason, "client")
            self.leg.send_close(close_codes.sendable(code), reason)

    def _upstream_left(self) -> None:
        leg = self.leg
        if leg.violation:
            code = close_codes.BAD_GATEWAY
            if leg.closing is not None and leg.closing[0] == close_codes.MESSAGE_TOO_BIG:
                code = close_codes.MESSAGE_TOO_BIG
            self.exchange.abort = leg.violation
            self._finish(code, "", "gateway")
        elif leg.closing is not None:
            code = close_codes.NO_STATUS if leg.closing[0] is None else leg.closing[0]
            self._finish(code, leg.closing[1], "upstream")
        else:
            self.exchange.abort = "upstream_abort"
            self._finish(close_codes.BAD_GATEWAY, "the service broke off", "upstream")

    def _finish(self, code: int, reason: str, closed_by: str) -> None:
        self.code, self.reason, self.closed_by = code, reason, closed_by
        self._ended_at = monotonic()

    def end(self, code: int, reason: str) -> None:
        """Close both sides, on the gateway's own account."""
        if self._ended_at:
            return
        self._finish(code, reason, "gateway")
        to_upstream = code if code in _SAID_TO_BOTH else close_codes.GOING_AWAY
        self.leg.send_close(to_upstream, "")
        if self.leg.resumed is not None and not self.leg.resumed.done():
            self.leg.resumed.set_result(None)
        self._stop_reading_client()

    def end_access(self, refusal: Refusal) -> None:
        code = close_codes.UNAUTHENTICATED if isinstance(refusal, Unauthenticated) else close_codes.FORBIDDEN
        self.exchange.abort = f"{refusal.code}: {refusal.reason}"
        self.end(code, refusal.code)

    def drain(self) -> None:
        self.end(close_codes.SERVICE_RESTART, "the gateway restarts")

    # --- looking after -------------------------------------------------------------------
    def look_after(self, now: float) -> None:
        """Deadlines, pings, and peers that don't take what is sent to them."""
        if self._ended_at:
            return
        self._look_for_activity(now)
        options = self._options
        if options.max_age is not None and now - self._started > options.max_age:
            self.end(close_codes.GOING_AWAY, "the connection has reached its longest life")
        elif options.idle_timeout is not None and now - self._active_at > options.idle_timeout:
            self.end(close_codes.GOING_AWAY, "idle")
        elif now - self._progress_at > STALL_SECONDS:
            self.exchange.abort = "client_stalled" if self._sending else "upstream_stalled"
            self.end(close_codes.INTERNAL_ERROR, "a peer takes no more")
        elif options.ping_interval is not None:
            self._ping(now, options.ping_interval)

    def _look_for_activity(self, now: float) -> None:
        leg = self.leg
        seen = (self.messages_in, leg.messages)
        if seen != self._seen:
            self._seen, self._active_at = seen, now
        if leg.frames != self._frames:
            self._frames, self._heard_at = leg.frames, now
        progress = (self.messages_in, self._sent)
        if progress != self._progress or not (self._sending or self._draining_up):
            self._progress, self._progress_at = progress, now

    def _ping(self, now: float, interval: float) -> None:
        silent = now - self._heard_at
        # What we don't read on purpose we can't hold against the upstream.
        if self.leg.queued_bytes:
            self._heard_at = now
        elif silent > 2 * interval:
            self.exchange.abort = "upstream_silent"
            self.end(close_codes.INTERNAL_ERROR, "the service answers no ping")
        elif silent > interval and now - self._pinged_at > interval:
            self._pinged_at = now
            self.leg.send_ping()


_SAID_TO_BOTH = frozenset({close_codes.MESSAGE_TOO_BIG, close_codes.SERVICE_RESTART})
