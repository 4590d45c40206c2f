"""Open a WebSocket to a target: the request that goes out, the answer that comes back (RFC 6455 4).

The handshake is the gateway's own, byte for byte, so that headers go out as they came and a refusal
comes back whole; frames are somebody else's concern (see frames.py).
"""

import asyncio
import base64
import hashlib
import os
from typing import Any

import httptools

from routing.pipeline.errors import UpstreamAborted, UpstreamInvalid, UpstreamTimeout, UpstreamUnreachable
from routing.pipeline.exchange import Exchange
from routing.snapshot import CompiledRoute, CompiledTarget
from routing.upstream.request_head import request_head

HEADER_BYTES = 65_536
REFUSAL_BYTES = 65_536
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# Ours to write. Extensions are not offered: what an upstream compressed, the client's leg couldn't unpack.
_OWN = frozenset(
    {b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions", b"sec-websocket-accept"}
)


class UpstreamAnswer:
    """What the target said: the switch (with the bytes that came after it), or a refusal with its body."""

    __slots__ = ("body", "headers", "status", "subprotocol", "tail", "transport")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = headers
        self.body = b""
        self.tail = b""
        self.subprotocol: str | None = None
        self.transport: Any = None


def upgrade_request(exchange: Exchange, route: CompiledRoute, target: CompiledTarget) -> tuple[bytes, bytes]:
    """The request's bytes, and the key they carry."""
    key = base64.b64encode(os.urandom(16))
    exchange.headers = [field for field in exchange.headers if field[0] not in _OWN]
    head = request_head(exchange, route, target)
    upgrade = b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: "
    return head[:-2] + upgrade + key + b"\r\n\r\n", key


def accept_for(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())


class Handshake(asyncio.Protocol):
    """Sends the request when connected; `answer` is done when the target has switched or refused."""

    def __init__(self, request: bytes, key: bytes, offered: frozenset[str]) -> None:
        self.answer: asyncio.Future[UpstreamAnswer] = asyncio.get_running_loop().create_future()
        self._request = request
        self._key = key
        self._offered = offered
        self._transport: Any = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._answer: UpstreamAnswer | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, UpstreamInvalid) else UpstreamInvalid(str(error)))

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and self._answer.status != 101:
            # Without a length the body ends here; a broken one is better than none.
            self._finish()
        else:
            self._fail(
                UpstreamUnreachable(f"closed before it answered the upgrade ({exc or 'end of stream'})")
            )

    def abandon(self) -> None:
        """Nobody waits any more."""
        self.answer.cancel()
        if self._transport is not None:
            self._transport.abort()

    # --- httptools callbacks -------------------------------------------------------------
    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value) + 4
        if self._size > HEADER_BYTES:
            raise UpstreamInvalid("response headers too large")
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, []
        if status == 101 or status >= 200:
            self._answer = UpstreamAnswer(status, headers)

    def on_body(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.body += data
            if len(self._answer.body) > REFUSAL_BYTES:
                self._answer.body = self._answer.body[:REFUSAL_BYTES]
                self._finish()

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status != 101:
            self._finish()

    # --- ends ----------------------------------------------------------------------------
    def _finish(self) -> None:
        assert self._answer is not None
        if not self.answer.done():
            self.answer.set_result(self._answer)
        self._transport.close()

    def _switch(self, tail: bytes) -> None:
        answer = self._answer
        if answer is None or answer.status != 101:
            self._fail(UpstreamInvalid("an upgrade without 101"))
            return
        problem = self._problem_with(answer)
        if problem is not None:
            self._fail(UpstreamInvalid(problem))
            return
        answer.tail, answer.transport = tail, self._transport
        # What comes from here on belongs to the frames' parser, which takes the connection over.
        self._transport.pause_reading()
        if not self.answer.done():
            self.answer.set_result(answer)

    def _problem_with(self, answer: UpstreamAnswer) -> str | None:
        """RFC 6455 4.1: any of these fails the connection."""
        values: dict[bytes, list[bytes]] = {}
        for name, value in answer.headers:
            values.setdefault(name, []).append(value.strip())
        if [value.lower() for value in values.get(b"upgrade", [])] != [b"websocket"]:
            return "101 without Upgrade: websocket"
        if values.get(b"sec-websocket-accept") != [accept_for(self._key)]:
            return "101 with a wrong Sec-WebSocket-Accept"
        if any(values.get(b"sec-websocket-extensions", [])):
            return "101 with an extension that was not offered"
        chosen = values.get(b"sec-websocket-protocol", [])
        if chosen:
            answer.subprotocol = chosen[0].decode("latin-1")
            if len(chosen) > 1 or answer.subprotocol not in self._offered:
                return "101 with a subprotocol that was not offered"
        return None

    def _fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
        if self._transport is not None:
            self._transport.abort()


async def wait_for_answer(handshake: Handshake, seconds: float) -> UpstreamAnswer:
    """Raises UpstreamTimeout, UpstreamInvalid or UpstreamUnreachable."""
    try:
        async with asyncio.timeout(seconds):
            answer = await handshake.answer
    except TimeoutError as error:
        handshake.abandon()
        raise UpstreamTimeout("no answer to the upgrade in time") from error
    except asyncio.CancelledError:
        handshake.abandon()
        raise
    if answer.status == 101 and answer.transport.is_closing():
        raise UpstreamAborted("closed right after the upgrade")
    return answer
