"""A WebSocket for an ASGI application that is not the relay, on a real socket."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from routing.downstream.call import Call
from routing.downstream.clients import Clients

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
ACCEPT = {"type": "websocket.accept"}


class OneApplication:
    def __init__(self, application: Application) -> None:
        self._application = application

    def serve(self, call: Call) -> None:
        call.run(self._application)


class Served:
    """What a test does to the server from the client's side."""

    def __init__(self, port: int, clients: Clients) -> None:
        self.clients = clients
        self.port = port

    def connect(self, **options: Any) -> connect:
        return connect(f"ws://127.0.0.1:{self.port}/tail?a=1", proxy=None, compression=None, **options)


def serve(application: Application, work: Callable[[Served], Awaitable[None]]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        clients = Clients(OneApplication(application), ("127.0.0.1", 0))
        server = await loop.create_server(clients.protocol, "127.0.0.1", 0)
        try:
            async with asyncio.timeout(20):
                await work(Served(server.sockets[0].getsockname()[1], clients))
                assert await clients.drain(5)
        finally:
            server.close()

    uvloop.run(run())


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert await receive() == {"type": "websocket.connect"}
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def end_of(client: ClientConnection) -> tuple[int | None, str | None]:
    with pytest.raises(ConnectionClosed):
        await client.recv()
    return client.close_code, client.close_reason


def test_scope_is_that_of_a_websocket() -> None:
    scopes: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(dict(scope))
        await receive()
        await send({**ACCEPT, "subprotocol": "two", "headers": [(b"x-more", b"yes")]})

    async def work(served: Served) -> None:
        async with served.connect(subprotocols=["one", "two"]) as client:
            assert client.subprotocol == "two"
            assert client.response is not None
            assert client.response.headers["X-More"] == "yes"
            # The application has returned: the connection ends as it should.
            assert await end_of(client) == (1000, "")

    serve(application, work)
    (scope,) = scopes
    wanted = {
        "type": "websocket", "scheme": "ws", "path": "/tail", "query_string": b"a=1", "http_version": "1.1",
        "subprotocols": ["one", "two"],
    }  # fmt: skip
    assert {key: scope[key] for key in wanted} == wanted
    assert "websocket.http.response" in scope["extensions"]


def test_messages_go_both_ways() -> None:
    async def work(served: Served) -> None:
        async with served.connect() as client:
            for message in ("", "grüße", b"", bytes(200_000), "x" * 70_000):
                await client.send(message)
                assert await client.recv() == message
            await (await client.ping())

    serve(echo, work)


def test_close_of_the_client_is_told_with_code_and_reason() -> None:
    events: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        while True:
            events.append(await receive())
            if events[-1]["type"] == "websocket.disconnect":
                return

    async def work(served: Served) -> None:
        async with served.connect() as client:
            await client.send("last")
            await client.close(4321, "so long")

    serve(application, work)
    assert events == [
        {"type": "websocket.receive", "text": "last"},
        {"type": "websocket.disconnect", "code": 4321, "reason": "so long"},
    ]


def test_client_that_vanishes_is_a_disconnect_with_1006() -> None:
    told = asyncio.Queue[dict[str, Any]]()

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        told.put_nowait(await receive())

    async def work(served: Served) -> None:
        async with served.connect() as client:
            client.transport.abort()
            assert await told.get() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}

    serve(application, work)


async def _refuse(receive: Any, send: Any) -> None:
    await send({"type": "websocket.http.response.start", "status": 418, "headers": [(b"x-why", b"tea")]})
    await send({"type": "websocket.http.response.body", "body": b"short", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b" and stout"})


async def _close(receive: Any, send: Any) -> None:
    await send({"type": "websocket.close", "code": 4403})


async def _fail(receive: Any, send: Any) -> None:
    raise ArithmeticError("on purpose")


@pytest.mark.parametrize(
    "ending, status, body", [(_refuse, 418, b"short and stout"), (_close, 403, b""), (_fail, 500, b"")]
)
def test_refusal_is_an_http_answer(ending: Any, status: int, body: bytes) -> None:
    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await ending(receive, send)

    async def work(served: Served) -> None:
        with pytest.raises(InvalidStatus) as caught:
            await served.connect()
        assert (caught.value.response.status_code, caught.value.response.body) == (status, body)

    serve(application, work)


@pytest.mark.parametrize(
    "ending, code",
    [(lambda send: send({"type": "websocket.close", "code": 4403, "reason": "no"}), 4403), (None, 1011)],
)
def test_application_that_closes_or_fails_closes_with_a_code(ending: Any, code: int) -> None:
    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        if ending is None:
            raise ArithmeticError("on purpose")
        await ending(send)

    async def work(served: Served) -> None:
        async with served.connect() as client:
            assert (await end_of(client))[0] == code

    serve(application, work)


def test_stopping_server_closes_with_1012() -> None:
    async def work(served: Served) -> None:
        async with served.connect() as client:
            draining = asyncio.ensure_future(served.clients.drain(5))
            assert await end_of(client) == (1012, "the gateway restarts")
            assert await draining

    serve(echo, work)


def test_application_that_does_not_read_stops_the_client() -> None:
    read = asyncio.Event()

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await read.wait()
        taken = 0
        while taken < 16 * 1_048_576:
            taken += len((await receive())["bytes"])
        await send({"type": "websocket.send", "text": "all of it"})

    async def work(served: Served) -> None:
        async with served.connect() as client:
            stream = client.transport.get_extra_info("socket")
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
            sending = asyncio.ensure_future(_send_all(client))
            assert not (await asyncio.wait({sending}, timeout=1))[0]
            read.set()
            assert await client.recv() == "all of it"
            await sending

    serve(application, work)


async def _send_all(client: ClientConnection) -> None:
    for _ in range(16):
        await client.send(bytes(1_048_576))


def test_client_that_does_not_read_stops_the_application() -> None:
    sent = 0

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal sent
        await receive()
        await send(ACCEPT)
        for _ in range(1000):
            await send({"type": "websocket.send", "bytes": bytes(65_536)})
            sent += 1

    async def work(served: Served) -> None:
        async with served.connect(max_queue=1, max_size=None) as client:
            before = -1
            while before != sent or not sent:
                before = sent
                await asyncio.sleep(0.3)
            assert sent < 500
            for _ in range(1000):
                assert len(await client.recv()) == 65_536

    serve(application, work)
