"""Which connection and which target a request is sent to, and at whose pace, over real sockets."""

import asyncio
from typing import Any

import pytest

from routing.pipeline.errors import (
    UpstreamInvalid,
    UpstreamUnreachable,
)
from tests.routing.event_loop import run, until
from tests.routing.rows import compiled, route_row, service_row
from tests.routing.upstream.client import Client, exchange, forward, part
from tests.routing.upstream.forwarding import OK, answer_ok, forwarder, route_to
from tests.routing.upstream.scripted_server import Peer, listening


@pytest.mark.parametrize(
    "method, framing, parts, repeated",
    [
        ("GET", {}, (), True),
        ("DELETE", {}, (), True),
        ("PUT", {"content_length": 1}, (part(b"x"),), True),
        ("PUT", {"content_length": 2}, (part(b"x", more=True), part(b"x")), False),
        ("POST", {"content_length": 1}, (part(b"x"),), False),
        ("PATCH", {}, (), False),
    ],
    ids=["get", "delete", "put", "put-in-parts", "post", "patch"],
)
def test_stale_connection_is_replaced_once_and_only_for_what_may_be_repeated(
    method: str, framing: dict[str, Any], parts: Any, repeated: bool
) -> None:
    asked_again = 0

    async def script(peer: Peer) -> None:
        nonlocal asked_again
        await peer.head()
        peer.send(OK)
        if peer.number == 0:
            # Takes the next request and closes without a byte.
            await peer.head()
            asked_again += 1
            return
        await peer.rest()

    async def scenario() -> None:
        forwards = forwarder()
        async with listening(script) as upstream:
            route = route_to(upstream.url, retries=0)
            await forward(forwards, route, exchange(), Client())
            client = Client(*parts)
            sending = forward(forwards, route, exchange(method, **framing), client)
            if repeated:
                assert await sending == [200]
            else:
                with pytest.raises(UpstreamUnreachable):
                    await sending
            assert (asked_again, len(upstream.peers)) == (1, 2 if repeated else 1)

    run(scenario())


def test_connection_that_answered_half_a_head_is_never_asked_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 2")

    async def scenario() -> None:
        async with listening(script) as upstream:
            with pytest.raises(UpstreamInvalid):
                await forward(forwarder(), route_to(upstream.url, retries=3), exchange(), Client())
            assert len(upstream.peers) == 1

    run(scenario())


def test_slow_reader_slows_the_upstream_and_gets_every_byte() -> None:
    size = 20_000_000
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            peer.send(b"z" * 100_000)
            sent += 100_000
            await peer.writer.drain()

    async def scenario() -> None:
        async with listening(script) as upstream:
            client = Client()
            sending = asyncio.ensure_future(forward(forwarder(), route_to(upstream.url), exchange(), client))
            await until(lambda: len(client.body) > 0, "the body begins")
            client.reads.clear()
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.1)
            # What the sockets and the gateway hold is far from all.
            assert sent - len(client.body) < size / 2
            client.reads.set()
            assert await sending == [200]
            assert len(client.body) == size

    run(scenario())


def test_client_that_stops_reading_is_given_up_after_the_idle_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await peer.rest()

    async def scenario() -> None:
        async with listening(script) as upstream:
            client = Client()
            client.reads.clear()
            asked = exchange()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.ensure_future(
                    forward(forwarder(), route_to(upstream.url, idle_timeout=0.2), asked, client)
                )
            assert asked.abort == "client_stalled"
            await until(lambda: not upstream.open, "the upstream connection closes")

    run(scenario())


def test_every_target_is_tried_before_502_and_a_service_without_one_says_so() -> None:
    async def scenario() -> None:
        async with listening(answer_ok) as upstream:
            dead = "http://127.0.0.1:1"
            for _ in range(3):
                route = route_to(dead, upstream.url, dead, retries=2)
                assert await forward(forwarder(), route, exchange("POST"), Client()) == [200]
        with pytest.raises(UpstreamUnreachable):
            await forward(forwarder(), route_to(dead, dead, retries=1), exchange(), Client())
        row = service_row(1)
        row["targets"] = []
        with pytest.raises(UpstreamUnreachable, match="has no target"):
            await forward(forwarder(), compiled(route_row("x", "/"), row), exchange(), Client())

    run(scenario())
