"""Speak frames with the upstream: picows carries and parses them, this makes messages of them and guards.

Every violation ends the leg with the code that RFC 6455 names. Knows nothing of the client's leg but a
queue that it reads from.
"""

import asyncio
import logging
from collections import deque
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSProtocolError, WSTransport
from picows.picows import WSProtocol

from routing.relay import close_codes
from routing.relay.handshake import UpstreamAnswer, accept_for

# A reader further behind than this stops the far sender. One message may be larger by itself.
HIGH_WATER_BYTES = 131_072
LOW_WATER_BYTES = 32_768
READ_BUFFER_BYTES = 2048

TEXT = WSMsgType.TEXT
BINARY = WSMsgType.BINARY
CONTINUATION = WSMsgType.CONTINUATION
PING = WSMsgType.PING
PONG = WSMsgType.PONG
CLOSE = WSMsgType.CLOSE

# An adapter, as picows would make a logger of its own for every connection from a plain one.
_logger = logging.LoggerAdapter(logging.getLogger("gatehouse.relay.frames"), {})
_logger.logger.setLevel(logging.CRITICAL)
_logger.logger.propagate = False


class UpstreamLeg(WSListener):  # type: ignore[misc]
    """The frames' side of one upstream connection.

    `wake` is called when there is something new in `inbox`, or when the leg has ended; `closing` then
    holds the code (None: without one) and reason for the client.
    """

    def __init__(self, wake: Any, max_message_bytes: int) -> None:
        self.inbox: deque[tuple[dict[str, Any], int]] = deque()  # messages and their sizes
        self.queued_bytes = 0
        self.messages = 0
        self.bytes = 0
        self.frames = 0
        self.ended = False
        self.closing: tuple[int | None, str] | None = None
        self.violation = ""
        self.paused = False
        self.resumed: Any = None  # a future that the writer waits on
        self._wake = wake
        self._limit = max_message_bytes
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._kind = CONTINUATION  # the kind of the message whose parts are coming; CONTINUATION: none
        self._transport: WSTransport | None = None
        self._underlying: Any = None
        self._reading_paused = False
        self._close_sent = False
        self._gone: asyncio.Future[None] | None = None
        self._verdict: asyncio.Task[None] | None = None

    # --- writing -------------------------------------------------------------------------
    @property
    def transport(self) -> WSTransport:
        assert self._transport is not None
        return self._transport

    def send_close(self, code: int | None, reason: str) -> None:
        """Once; what is sent afterwards is thrown away."""
        if self._close_sent or self.ended or self._transport is None:
            return
        self._close_sent = True
        self._transport.send(CLOSE, close_codes.close_payload(code, reason))
        if self._reading_paused:
            # The answer to it may stand behind messages that nobody wants any more.
            self._reading_paused = False
            self._underlying.resume_reading()

    def send_ping(self) -> None:
        if not self._close_sent and not self.ended and self._transport is not None:
            self._transport.send_ping()

    def abort(self) -> None:
        if self._underlying is not None:
            self._underlying.abort()

    async def wait_ended(self, seconds: float) -> None:
        """Give the upstream time to answer the close frame; then the connection is cut."""
        if not self.ended:
            self._gone = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._gone}, timeout=seconds)
        self.abort()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.resumed is not None and not self.resumed.done():
            self.resumed.set_result(None)

    # --- reading -------------------------------------------------------------------------
    def taken(self, size: int) -> None:
        """The client's leg has sent a message of this size on."""
        self.queued_bytes -= size
        if self._reading_paused and self.queued_bytes <= LOW_WATER_BYTES and not self.ended:
            self._reading_paused = False
            self._underlying.resume_reading()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.frames += 1
        kind = frame.msg_type
        whole = frame.fin and not (frame.rsv1 or frame.rsv2 or frame.rsv3) and self._kind == CONTINUATION
        # picows goes on parsing for a moment after a frame that it has closed for.
        if self._close_sent or self.closing is not None or transport.is_close_frame_sent:
            if kind == CLOSE:
                self._underlying.close()
            return
        if whole and kind == BINARY:
            data = frame.get_payload_as_bytes()
            self._deliver({"type": "websocket.send", "bytes": data}, len(data))
        elif whole and kind == TEXT:
            self._deliver_text(frame.get_payload_as_bytes())
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._violate(close_codes.PROTOCOL_ERROR, "reserved bits set")
        elif kind in (TEXT, BINARY):
            if self._kind != CONTINUATION:
                self._violate(close_codes.PROTOCOL_ERROR, "a new message within a fragmented one")
            else:
                self._kind = kind
                self._add_part(frame.get_payload_as_bytes())
        elif kind == CONTINUATION:
            self._continue(frame)
        elif kind == CLOSE:
            self._close(frame.get_payload_as_bytes())

    def _continue(self, frame: WSFrame) -> None:
        if self._kind == CONTINUATION:
            self._violate(close_codes.PROTOCOL_ERROR, "a continuation of nothing")
            return
        if not self._add_part(frame.get_payload_as_bytes()) or not frame.fin:
            return
        data = b"".join(self._parts)
        kind, self._kind = self._kind, CONTINUATION
        self._parts, self._parts_bytes = [], 0
        if kind == TEXT:
            self._deliver_text(data)
        else:
            self._deliver({"type": "websocket.send", "bytes": data}, len(data))

    def _add_part(self, data: bytes) -> bool:
        self._parts_bytes += len(data)
        if self._parts_bytes > self._limit:
            self._violate(close_codes.MESSAGE_TOO_BIG, "a message larger than the route allows")
            return False
        self._parts.append(data)
        return True

    def _deliver_text(self, data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._violate(close_codes.INVALID_DATA, "text that is not UTF-8")
            return
        self._deliver({"type": "websocket.send", "text": text}, len(data))

    def _deliver(self, message: dict[str, Any], size: int) -> None:
        self.messages += 1
        self.bytes += size
        self.queued_bytes += size
        self.inbox.append((message, size))
        if self.queued_bytes > HIGH_WATER_BYTES and not self._reading_paused:
            self._reading_paused = True
            self._underlying.pause_reading()
        self._wake()

    def _close(self, payload: bytes) -> None:
        closing = close_codes.read_close(payload)
        if closing is None:
            self._violate(close_codes.PROTOCOL_ERROR, "a malformed close frame")
            return
        code = close_codes.sendable(closing[0])
        self.closing = (code, closing[1])
        # RFC 6455 5.5.1: answered with the same code; then the server closes, we make sure of it.
        self._close_sent = True
        self.transport.send(CLOSE, close_codes.close_payload(code, ""))
        self._underlying.close()
        self._wake()

    def _violate(self, code: int, what: str) -> None:
        self.violation = what
        self.closing = (code, "")
        self.send_close(code, what)
        self._underlying.close()
        self._wake()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.ended = True
        if transport.is_close_frame_sent:
            self._verdict = asyncio.ensure_future(_fetch_verdict(transport))
        if self.closing is None and not self._close_sent:
            self._note_parser_verdict(transport)
        if self.resumed is not None and not self.resumed.done():
            self.resumed.set_result(None)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        self._wake()

    def _note_parser_verdict(self, transport: WSTransport) -> None:
        """picows has closed with a code of its own when a frame was malformed or too large."""
        handshake = transport.close_handshake
        if handshake is not None and handshake.sent is not None:
            self.violation = handshake.sent.reason or "a malformed frame"
            code = int(handshake.sent.code)
            self.closing = (code if close_codes.may_be_sent(code) else close_codes.PROTOCOL_ERROR, "")

    # --- taking over ---------------------------------------------------------------------
    def take_over(self, answer: UpstreamAnswer) -> None:
        """Go on with the connection that the handshake opened, from the first byte after it."""
        self._underlying = answer.transport
        answer.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        muted = _MutedTransport(answer.transport)
        protocol = WSProtocol(
            "upstream", "/", True, lambda: self, _logger, True, None, False, 10, 10, 1, True,
            self._limit, None, READ_BUFFER_BYTES,
        )  # fmt: skip
        protocol.connection_made(muted)
        key = protocol.transport.request.headers["Sec-WebSocket-Key"].encode()
        _feed(protocol, _SWITCHED % accept_for(key))
        answer.transport.set_protocol(protocol)
        _feed(protocol, answer.tail)
        answer.transport.resume_reading()


async def _fetch_verdict(transport: WSTransport) -> None:
    """The parser keeps its error for whoever waits; left there it would be logged as forgotten."""
    try:
        await transport.wait_disconnected()
    except WSProtocolError:
        pass


_SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)


def _feed(protocol: Any, data: bytes) -> None:
    """Hand bytes to the parser as if the socket had brought them."""
    while data:
        buffer = protocol.get_buffer(-1)
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


class _MutedTransport:
    """Swallows the handshake that picows writes by itself; the real one has been done already."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._muted = True
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.get_extra_info = transport.get_extra_info
        self.close = transport.close
        self.abort = transport.abort
        self.is_closing = transport.is_closing

    def write(self, data: Any) -> None:
        if self._muted:
            self._muted = False
            return
        self._transport.write(data)
