"""A request on its way up and its response on the way down, over real sockets."""

import asyncio
from typing import Any

import pytest

from routing.pipeline.errors import (
    BodyTooLarge,
    ClientLeft,
    ClientTimeout,
    GatewayError,
    UpstreamAborted,
    UpstreamTimeout,
)
from tests.routing.event_loop import run, until
from tests.routing.upstream.client import Client, exchange, forward, part
from tests.routing.upstream.forwarding import A_WHILE, OK, answer_ok, forwarder, route_to, take_the_body
from tests.routing.upstream.scripted_server import Peer, listening


@pytest.mark.parametrize("framing", [{"chunked": True}, {"content_length": 10}], ids=["chunked", "length"])
@pytest.mark.parametrize("pauses", [(A_WHILE, 0), (0, A_WHILE), (A_WHILE, A_WHILE)], ids=str)
def test_body_that_comes_slowly_arrives_whole(framing: dict[str, Any], pauses: tuple[float, float]) -> None:
    async def scenario() -> None:
        async with listening(take_the_body) as upstream:
            client = Client()
            asked = exchange("POST", **framing)
            sending = asyncio.ensure_future(forward(forwarder(), route_to(upstream.url), asked, client))
            for pause, message in zip(pauses, (part(b"first", more=True), part(b"secnd")), strict=True):
                await asyncio.sleep(pause)
                client.put(message)
            assert await sending == [200]
            body = upstream.peers[0].received.partition(b"\r\n\r\n")[2]
            assert body in (b"firstsecnd", b"5\r\nfirst\r\n5\r\nsecnd\r\n0\r\n\r\n")

    run(scenario())


@pytest.mark.parametrize(
    "method, framing, parts, sent",
    [
        ("GET", {}, (), b""),
        ("POST", {"content_length": 5}, (part(b"hello"),), b"hello"),
        ("POST", {"chunked": True}, (part(b"hello"),), b"hello"),
        (
            "POST",
            {"chunked": True},
            (part(b"he", more=True), part(b"llo")),
            b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
        (
            "POST",
            {"content_length": 5},
            (part(b"he", more=True), part(b"", more=True), part(b"llo")),
            b"hello",
        ),
        ("POST", {"chunked": True}, (part(b""),), b""),
        ("POST", {"content_length": 0}, (), b""),
    ],
    ids=["none", "length", "chunked-at-hand", "chunked", "length-in-parts", "chunked-empty", "length-0"],
)
def test_body_goes_up_in_one_clear_framing(
    method: str, framing: dict[str, Any], parts: Any, sent: bytes
) -> None:
    async def script(peer: Peer) -> None:
        head = await peer.head()
        if sent:
            await peer.read(len(sent))
        lengths = head.count(b"content-length:") + head.count(b"transfer-encoding:")
        assert lengths == (0 if method == "GET" else 1)
        peer.send(OK)

    async def scenario() -> None:
        async with listening(script) as upstream:
            client = Client(*parts)
            await forward(forwarder(), route_to(upstream.url), exchange(method, **framing), client)
            assert (client.status, client.body, client.complete) == (200, b"ok", True)
            assert upstream.peers[0].received.partition(b"\r\n\r\n")[2] == sent

    run(scenario())


def test_upload_that_outgrows_the_limit_is_refused_and_the_upstream_cut_off() -> None:
    async def script(peer: Peer) -> None:
        await peer.rest()

    async def scenario() -> None:
        async with listening(script) as upstream:
            client = Client(part(b"x" * 60, more=True), part(b"x" * 60))
            with pytest.raises(BodyTooLarge):
                await forward(
                    forwarder(),
                    route_to(upstream.url, max_body_bytes=100),
                    exchange("POST", chunked=True),
                    client,
                )
            assert client.sent == []
            await until(lambda: not upstream.open, "the upstream connection closes")
            assert not upstream.peers[0].received.endswith(b"0\r\n\r\n")

    run(scenario())


def test_first_part_beyond_the_limit_never_connects() -> None:
    async def scenario() -> None:
        async with listening(answer_ok) as upstream:
            with pytest.raises(BodyTooLarge):
                await forward(
                    forwarder(),
                    route_to(upstream.url, max_body_bytes=10),
                    exchange("POST", chunked=True),
                    Client(part(b"x" * 11)),
                )
            assert upstream.peers == []

    run(scenario())


@pytest.mark.parametrize(
    "parts, error",
    [((), ClientTimeout), ((part(b"x", more=True),), ClientTimeout)],
    ids=["before-the-first-part", "between-parts"],
)
def test_client_that_stops_sending_is_timed_out(parts: Any, error: type[GatewayError]) -> None:
    async def script(peer: Peer) -> None:
        await peer.rest()

    async def scenario() -> None:
        async with listening(script) as upstream:
            with pytest.raises(error):
                await forward(
                    forwarder(),
                    route_to(upstream.url, idle_timeout=0.2, response_timeout=0.1),
                    exchange("POST", chunked=True),
                    Client(*parts),
                )
            await until(lambda: not upstream.open, "the upstream connection closes")

    run(scenario())


def test_client_that_leaves_in_its_upload_ends_the_upstream_request() -> None:
    async def script(peer: Peer) -> None:
        await peer.rest()

    async def scenario() -> None:
        async with listening(script) as upstream:
            client = Client(part(b"x", more=True))
            asked = exchange("POST", content_length=100)
            sending = asyncio.ensure_future(forward(forwarder(), route_to(upstream.url), asked, client))
            await until(lambda: upstream.open, "the upstream is connected")
            client.leave()
            with pytest.raises(ClientLeft):
                await sending
            await until(lambda: not upstream.open, "the upstream connection closes")

    run(scenario())


def test_client_that_leaves_while_waiting_ends_the_upstream_request() -> None:
    async def script(peer: Peer) -> None:
        await peer.rest()

    async def scenario() -> None:
        async with listening(script) as upstream:
            client = Client()
            sending = asyncio.ensure_future(
                forward(forwarder(), route_to(upstream.url, response_timeout=10), exchange(), client)
            )
            await until(lambda: upstream.open, "the upstream is connected")
            client.leave()
            with pytest.raises(ClientLeft):
                await sending
            await until(lambda: not upstream.open, "the upstream connection closes")

    run(scenario())


def test_fault_in_reading_the_body_ends_the_request_at_once(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Client):
        async def receive(self) -> dict[str, Any]:
            if self._parts.empty():
                raise RuntimeError("the server is confused")
            return await super().receive()

    async def script(peer: Peer) -> None:
        await peer.rest()

    async def scenario() -> None:
        async with listening(script) as upstream:
            with pytest.raises(GatewayError, match="RuntimeError"):
                await forward(
                    forwarder(),
                    route_to(upstream.url, response_timeout=30, idle_timeout=30),
                    exchange("POST", chunked=True),
                    Faulty(part(b"x", more=True)),
                )
            await until(lambda: not upstream.open, "the upstream connection closes")

    run(scenario(), timeout_seconds=5)
    assert "body can't be carried" in caplog.text


def test_answer_before_the_upload_has_ended_arrives_whole_and_ends_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await peer.rest()

    async def scenario() -> None:
        forwards = forwarder()
        async with listening(script) as upstream:
            client = Client(part(b"x", more=True))
            asked = exchange("POST", content_length=100)
            assert await forward(forwards, route_to(upstream.url), asked, client) == [413]
            assert (client.body, client.complete) == (b"big", True)
            assert forwards.pools.open_connections == 0
            await until(lambda: not upstream.open, "the upstream connection closes")

    run(scenario())


def test_answer_that_closes_stays_whole_while_the_upload_breaks_off() -> None:
    """The upload fails as the upstream has closed; the answer it sent before is complete all the same."""
    body = b"y" * 300_000

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 409 No\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await peer.rest()

    async def scenario() -> None:
        async with listening(script) as upstream:
            client = Client(part(b"x", more=True))
            client.reads.clear()
            asked = exchange("POST", content_length=100)
            sending = asyncio.ensure_future(forward(forwarder(), route_to(upstream.url), asked, client))
            await until(lambda: asked.status, "the response begins")
            client.reads.set()
            await until(lambda: len(client.body) > 100_000, "much of the body has come")
            client.put(part(b"x", more=True))
            assert await sending == [409]
            assert (client.body, client.complete) == (body, True)

    run(scenario())


def test_upstream_that_stalls_in_its_answer_is_timed_out_though_the_upload_goes_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await peer.rest()

    async def scenario() -> None:
        async with listening(script) as upstream:
            client = Client(part(b"x", more=True))
            asked = exchange("POST", content_length=100)
            route = route_to(upstream.url, idle_timeout=0.5)
            sending = asyncio.ensure_future(forward(forwarder(), route, asked, client))
            await until(lambda: client.body == b"half", "half of the answer has come")
            # Now the client sends a little: it must not lift the upstream's deadline.
            client.put(part(b"x", more=True))
            await asyncio.sleep(0.3)
            client.put(part(b"x", more=True))
            with pytest.raises(UpstreamTimeout):
                await sending

    run(scenario(), timeout_seconds=5)


def test_upstream_that_breaks_off_is_never_a_clean_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    async def scenario() -> None:
        async with listening(script) as upstream:
            client = Client()
            with pytest.raises(UpstreamAborted):
                await forward(forwarder(), route_to(upstream.url), exchange(), client)
            assert not client.complete

    run(scenario())


def test_gateway_that_stops_never_ends_a_body_cleanly() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await peer.rest()

    async def scenario() -> None:
        forwards = forwarder()
        async with listening(script) as upstream:
            client = Client()
            sending = asyncio.ensure_future(forward(forwards, route_to(upstream.url), exchange(), client))
            await until(lambda: client.body == b"half", "half of the answer has come")
            forwards.pools.close()
            with pytest.raises(UpstreamAborted):
                await sending
            assert not client.complete

    run(scenario())
