"""The smallest ASGI application that answers the measured document. Checks nothing, forwards nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.upstream import BODY

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}
END = {"type": "http.response.body", "body": BODY}


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    await send(START)
    await send(END)
