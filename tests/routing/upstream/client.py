"""The client's side of a request, as an ASGI server shows it: what it sends, and what it was sent."""

import asyncio
from typing import Any

from routing.pipeline.exchange import Exchange
from routing.snapshot import CompiledRoute
from routing.upstream.forward import Forwarder

GONE = {"type": "http.disconnect"}


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


class Client:
    """Body parts are put in by the test; a `slow` client takes nothing until `reads` is set."""

    def __init__(self, *parts: dict[str, Any]) -> None:
        self._parts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for each in parts:
            self._parts.put_nowait(each)
        self.sent: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()

    def put(self, message: dict[str, Any]) -> None:
        self._parts.put_nowait(message)

    def leave(self) -> None:
        self.put(GONE)

    async def receive(self) -> dict[str, Any]:
        return await self._parts.get()

    async def send(self, message: dict[str, Any]) -> None:
        await self.reads.wait()
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        return len(self.sent) > 1 and not self.sent[-1].get("more_body", False)


def exchange(method: str = "GET", path: bytes = b"/x", **fields: Any) -> Exchange:
    made = Exchange(method, path, b"")
    made.host, made.client_ip = "gateway.test", "192.0.2.7"
    made.request_id, made.trace_id = "request-1", "01234567-89ab-cdef-0123-456789abcdef"
    made.span_id = "0123456789abcdef"
    for name, value in fields.items():
        setattr(made, name, value)
    return made


async def forward(forwarder: Forwarder, route: CompiledRoute, asked: Exchange, client: Client) -> list[int]:
    """Forward with the sweep running beside it; the statuses that were recorded."""
    recorded: list[int] = []

    async def sweep() -> None:
        while True:
            await asyncio.sleep(0.01)
            forwarder.sweep()

    sweeping = asyncio.ensure_future(sweep())
    try:
        await forwarder.forward(
            asked, route, client.receive, client.send, lambda done: recorded.append(done.status)
        )
    finally:
        sweeping.cancel()
    return recorded
