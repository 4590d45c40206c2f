"""The relay between somebody else's ASGI server and a real upstream on picows."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from routing.pipeline.exchange import Exchange
from routing.relay import asgi_leg
from routing.relay.asgi_leg import AsgiLeg
from routing.relay.handshake import Handshake, upgrade_request, wait_for_answer
from routing.relay.options import WebSocketOptions
from routing.relay.pump import Relay
from routing.snapshot import CompiledRoute, Rows, compile_snapshot


class Echo(WSListener):  # type: ignore[misc]
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class Server:
    """The ASGI server's side of a WebSocket."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.may_send = asyncio.Event()
        self.may_send.set()

    async def send(self, message: dict[str, Any]) -> None:
        await self.may_send.wait()
        self.sent.append(message)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)


def route_to(port: int, options: WebSocketOptions) -> CompiledRoute:
    service = {
        "id": 1, "name": "echo", "targets": [{"url": f"http://127.0.0.1:{port}"}], "connect_timeout": 1.0,
        "response_timeout": 1.0, "idle_timeout": 5.0, "retries": 0, "identity": "none",
    }  # fmt: skip
    compiled = compile_snapshot(Rows(services=[service])).services[0]
    row = compile_snapshot(Rows(routes=[{"path": "/echo", "name": "echo"}])).routes[0]
    return replace(row, service=compiled, websocket=True, websocket_options=options, broken="")


async def with_relay(
    work: Callable[[Relay, Server, "asyncio.Task[None]"], Awaitable[None]],
    options: WebSocketOptions = WebSocketOptions(),  # noqa: B008 - frozen
) -> Relay:
    """Connect a relay to an echo, hand it to `work`, and return it when it has ended."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    echo = await ws_create_server(lambda request: Echo(), "127.0.0.1", port)
    route = route_to(port, options)
    exchange = Exchange("GET", b"/echo", b"")
    exchange.host, exchange.request_id, exchange.websocket = "gateway.test", "r", True
    exchange.trace_id, exchange.span_id = "0" * 36, "0" * 16
    server = Server()
    relay = Relay(exchange, route)
    client = AsgiLeg(relay, server.incoming.get, server.send, options.max_message_bytes)
    request, key = upgrade_request(exchange, route, route.service.targets[0])
    loop = asyncio.get_running_loop()
    _, handshake = await loop.create_connection(
        lambda: Handshake(request, key, frozenset()), "127.0.0.1", port
    )
    answer = await wait_for_answer(handshake, 2)
    relay.upstream.attach(answer.transport)
    over = asyncio.Event()
    relay.start(client, b"", answer.tail, lambda _: over.set())
    running = asyncio.ensure_future(client.run())
    try:
        await work(relay, server, running)
        async with asyncio.timeout(10):
            await running
            await over.wait()
    finally:
        relay.abandon()
        running.cancel()
        echo.close()
        await echo.wait_closed()
    return relay


def test_messages_go_round_and_the_clients_end_is_known() -> None:
    async def work(relay: Relay, server: Server, running: "asyncio.Task[None]") -> None:
        server.incoming.put_nowait({"type": "websocket.receive", "text": "hello", "bytes": None})
        server.incoming.put_nowait({"type": "websocket.receive", "bytes": b"\x00"})
        await server.until(lambda: len(server.sent) == 2)
        server.incoming.put_nowait({"type": "websocket.disconnect", "code": 4000, "reason": "bye"})
        await running
        assert server.sent == [
            {"type": "websocket.send", "text": "hello"},
            {"type": "websocket.send", "bytes": b"\x00"},
        ]

    relay = asyncio.run(with_relay(work))
    assert (relay.code, relay.reason, relay.closed_by) == (4000, "bye", "client")


def test_end_by_the_gateway_closes_the_client_with_its_code() -> None:
    async def work(relay: Relay, server: Server, running: "asyncio.Task[None]") -> None:
        relay.drain()
        await running
        assert server.sent == [{"type": "websocket.close", "code": 1012, "reason": "the gateway restarts"}]

    assert asyncio.run(with_relay(work)).closed_by == "gateway"


def test_client_that_takes_nothing_is_given_up_after_the_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_leg, "CLOSE_SECONDS", 0.1)

    async def work(relay: Relay, server: Server, running: "asyncio.Task[None]") -> None:
        server.may_send.clear()
        for _ in range(64):
            server.incoming.put_nowait({"type": "websocket.receive", "bytes": bytes(65_536)})
        assert relay.client is not None
        await server.until(lambda: relay.upstream.reading_paused)
        now = relay._started
        relay.look_after(now + 1)
        relay.look_after(now + 30)
        assert not running.done()
        # What waits is bounded: one read more than the high-water mark, not the four megabytes.
        assert relay.client.unsent_bytes() <= 131_072 + 2 * 65_536
        relay.look_after(now + 32)
        await running

    relay = asyncio.run(with_relay(work))
    assert (relay.code, relay.closed_by, relay.exchange.abort) == (1011, "gateway", "client_stalled")


@pytest.mark.parametrize(
    "options, seconds, code",
    [
        pytest.param(WebSocketOptions(max_age=60, ping_interval=None), 61, 1001, id="age"),
        pytest.param(WebSocketOptions(idle_timeout=60, ping_interval=None), 61, 1001, id="idle"),
    ],
)
def test_time_ends_a_connection(options: WebSocketOptions, seconds: float, code: int) -> None:
    async def work(relay: Relay, server: Server, running: "asyncio.Task[None]") -> None:
        relay.look_after(relay._started + seconds - 2)
        assert not relay.closed_by
        relay.look_after(relay._started + seconds)
        await running

    relay = asyncio.run(with_relay(work, options))
    assert (relay.code, relay.closed_by) == (code, "gateway")


def test_end_of_the_application_by_its_server_closes_the_upstream() -> None:
    async def work(relay: Relay, server: Server, running: "asyncio.Task[None]") -> None:
        server.incoming.put_nowait({"type": "websocket.receive", "bytes": b"x"})
        await server.until(lambda: len(server.sent) == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await server.until(lambda: relay.upstream.gone_for_good)
        assert (relay.code, relay.closed_by) == (1001, "gateway")
        raise Done

    with pytest.raises(Done):
        asyncio.run(with_relay(work))


class Done(Exception):
    """The test is over before the helper would wait for it."""
