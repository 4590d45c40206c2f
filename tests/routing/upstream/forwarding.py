"""A forwarder, a route to a scripted upstream, and what such an upstream usually does."""

from typing import Any

from routing.snapshot import CompiledRoute
from routing.upstream.forward import Forwarder
from routing.upstream.pool import Pools
from tests.routing.rows import compiled, route_row, service_row
from tests.routing.upstream.scripted_server import Peer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# Longer than the time after which a request is watched for its client's leaving.
A_WHILE = 0.25


def route_to(*urls: str, max_body_bytes: int = 1_000_000, **service: Any) -> CompiledRoute:
    fields = {"connect_timeout": 1.0, "response_timeout": 2.0, "idle_timeout": 2.0} | service
    return compiled(route_row("x", "/", max_body_bytes=max_body_bytes), service_row(1, *urls, **fields))


def forwarder(limit: int = 10) -> Forwarder:
    return Forwarder(Pools(limit, allow_loopback=True))


async def answer_ok(peer: Peer) -> None:
    while await peer.head():
        peer.send(OK)


async def take_the_body(peer: Peer) -> None:
    head = await peer.head()
    if b"transfer-encoding" in head:
        while not peer.received.endswith(b"0\r\n\r\n"):
            await peer.read(1)
    else:
        await peer.read(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    peer.send(OK)
