"""One end of a WebSocket connection: makes messages of frames, guards the protocol, ends it in good order.

The same on a client's connection and on an upstream's; picows carries and parses the frames. Every
violation ends the leg with the code that RFC 6455 names. A message goes straight from the callback that
read it to whoever takes it; what else happens, the leg's owner is told. Knows nothing of the other leg.
"""

import asyncio
import sys
from collections.abc import Callable
from fcntl import ioctl
from termios import TIOCOUTQ
from time import monotonic
from typing import Any, Protocol

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from routing.relay import close_codes
from routing.relay.fragments import Fragments
from routing.relay.parsing import GROWN_BYTES, Discard, FrameProtocol

# A reader further behind than this stops the far sender. One message may be larger by itself.
HIGH_WATER_BYTES = 131_072
LOW_WATER_BYTES = 32_768
# How long a peer has to answer a close frame, or to take some of what was sent before it.
CLOSE_SECONDS = 2.0
# How long it may take with all of that.
LONGEST_CLOSE_SECONDS = 30.0
# What is thrown away after the end, while the peer has not noticed it yet.
DISCARDED_BYTES = 4 * 1_048_576
TEXT = WSMsgType.TEXT
BINARY = WSMsgType.BINARY
CONTINUATION = WSMsgType.CONTINUATION
PING = WSMsgType.PING
PONG = WSMsgType.PONG
CLOSE = WSMsgType.CLOSE

Deliver = Callable[[WSMsgType, bytes], Any]


class Owner(Protocol):
    """Whom a leg tells what has become of it."""

    def leg_closed(self, leg: "Leg", code: int, reason: str) -> None:
        """Its peer closed (1005: without a code), and has been answered."""

    def leg_violated(self, leg: "Leg", code: int, what: str) -> None:
        """Its peer broke the protocol or a limit, and has been told so with this code."""

    def leg_gone(self, leg: "Leg") -> None:
        """The connection is no more; without `leg.closing` it broke off."""

    def leg_full(self, leg: "Leg") -> None:
        """Its peer takes too little of what is sent."""

    def leg_free(self, leg: "Leg") -> None:
        """It takes more again."""


def drop(kind: WSMsgType, data: bytes) -> None:
    """Where messages go that nobody wants any more."""


class Leg(WSListener):  # type: ignore[misc]
    """Used from one event loop. `attach` comes first, then `deliver` is set, then `start`."""

    __slots__ = (
        "_deadline", "_joined", "_kind", "_limit", "_owner", "_paused", "_pong", "_protocol",
        "_underlying", "_unsent", "bytes", "client_side", "closing", "closing_since", "deliver", "discarding", "frames",
        "freed", "full", "gone_for_good", "messages", "released", "send", "tail",
    )  # fmt: skip

    def __init__(self, owner: Owner, max_message_bytes: int, client_side: bool) -> None:
        """`client_side`: the gateway is the client of this connection."""
        self.client_side = client_side
        self.deliver: Deliver = drop
        self.send: Deliver = drop
        self.messages = self.bytes = self.frames = 0  # that have come
        self.full = False
        self.freed = 0  # how often it took more again after that
        self.closing = False  # one of the two has said that it ends
        self.closing_since = 0.0
        self.gone_for_good = False
        self.released: Callable[[], None] | None = None  # called when the connection is no more
        self.tail = 0  # bytes behind the last frame; also set before anything is read
        self._owner = owner
        self._limit = max_message_bytes
        # The kind of the message whose parts are coming; CLOSE: nothing is taken any more.
        self._kind = CONTINUATION
        self._joined: Fragments | None = None
        self._protocol: FrameProtocol | None = None
        self._underlying: Any = None
        self._paused = False
        self.discarding = False  # what still comes is of no interest
        self._pong: bytes | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unsent = 0

    # --- taking over ---------------------------------------------------------------------
    def attach(self, transport: Any) -> None:
        """Have frames written to the connection; what comes from it waits for `start`."""
        self._underlying = transport
        transport.pause_reading()
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        self._parse_anew()

    def start(self, early: bytes) -> None:
        """Read: first what came before there were frames."""
        assert self._protocol is not None
        if early:
            self._protocol.feed(early)
        if not self._paused and not self.discarding:
            self._underlying.resume_reading()

    def _parse_anew(self) -> None:
        self._protocol = FrameProtocol(self, self._underlying, self.client_side, self._limit)
        self._underlying.set_protocol(self._protocol)
        self.send = self._protocol.transport.send
        self.tail = 0

    def shrink(self) -> bool:
        """Give a large buffer back; `send` is another one then. Not within a callback of the leg."""
        if (
            self.tail
            or self.closing
            or self.discarding
            or self._protocol is None
            or self._protocol.room() <= GROWN_BYTES
        ):
            return False
        self._underlying.pause_reading()
        self._parse_anew()
        if not self._paused:
            self._underlying.resume_reading()
        return True

    # --- writing -------------------------------------------------------------------------
    def ping(self) -> None:
        if not self.closing and not self.full:
            self._transport.send_ping()

    def close(self, code: int | None, reason: str) -> None:
        """Say so, once; None: without a code. The connection ends when the peer has answered, or in time."""
        if not self.closing:
            # The answer may stand behind messages that nobody wants any more.
            self.resume_reading()
            self._say_close(code, reason)

    def _say_close(self, code: int | None, reason: str) -> None:
        self.closing = True
        self.closing_since = monotonic()
        self.deliver = self.send = drop
        if not self.gone_for_good:
            self._transport.send(CLOSE, close_codes.close_payload(code, reason))
            self._set_deadline()

    def abort(self) -> None:
        if self._underlying is not None and not self.gone_for_good:
            self._underlying.abort()

    @property
    def _transport(self) -> WSTransport:
        return self._protocol.transport  # type: ignore[union-attr]

    def unsent_bytes(self) -> int:
        return 0 if self.gone_for_good else int(self._underlying.get_write_buffer_size())

    def unacknowledged_bytes(self) -> int:
        """What the peer's kernel has not taken yet of what ours was given (Linux; elsewhere 0)."""
        if self.gone_for_good:
            return 0
        try:
            number = self._underlying.get_extra_info("socket").fileno()
            return int.from_bytes(ioctl(number, TIOCOUTQ, bytes(4)), sys.byteorder)
        except (OSError, ValueError):
            return 0

    def pause_writing(self) -> None:
        self.full = True
        if not self.closing:
            self._owner.leg_full(self)

    def resume_writing(self) -> None:
        self.full = False
        self.freed += 1
        if self.closing:
            return
        if self._pong is not None:
            pong, self._pong = self._pong, None
            self._transport.send_pong(pong)
        self._owner.leg_free(self)

    # --- reading -------------------------------------------------------------------------
    def pause_reading(self) -> None:
        if not self._paused and not self.closing:
            self._paused = True
            self._underlying.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and not self.closing:
            self._paused = False
            self._underlying.resume_reading()

    def let_others_read(self) -> None:
        """This was all for this turn of the loop."""
        if not self._paused and not self.discarding:
            self._underlying.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_again)

    def _read_again(self) -> None:
        if not self._paused and not self.discarding and not self.gone_for_good:
            self._underlying.resume_reading()

    reading_paused = property(lambda self: self._paused)

    def room(self) -> int:
        """Changes whenever bytes have come that are no whole frame yet."""
        return 0 if self._protocol is None else self._protocol.room()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.frames += 1
        self.tail = frame.tail_size
        kind = frame.msg_type
        if (
            frame.fin
            and self._kind is CONTINUATION
            and (kind is BINARY or kind is TEXT)
            and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        ):
            data = frame.get_payload_as_bytes()
            if kind is TEXT and not data.isascii() and not _is_text(data):
                self._violate(close_codes.INVALID_DATA, "text that is not UTF-8")
                return
            self.messages += 1
            self.bytes += len(data)
            self.deliver(kind, data)
        else:
            self._take_other(kind, frame)

    def _take_other(self, kind: WSMsgType, frame: WSFrame) -> None:
        if self._kind is CLOSE:
            # RFC 6455 5.5.1: after the close, data may still be under way; only its answer counts.
            if kind is CLOSE and not self.discarding:
                self._end_connection()
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._violate(close_codes.PROTOCOL_ERROR, "reserved bits set")
        elif kind is PING:
            self._answer(frame.get_payload_as_bytes())
        elif kind is CLOSE:
            self._take_close(frame.get_payload_as_bytes())
        elif kind is CONTINUATION:
            self._continue(frame)
        elif kind is TEXT or kind is BINARY:
            if self._kind is not CONTINUATION:
                self._violate(close_codes.PROTOCOL_ERROR, "a new message within a fragmented one")
            else:
                self._kind = kind
                self._joined = Fragments(kind is TEXT, self._limit)
                self._join(frame)

    def _continue(self, frame: WSFrame) -> None:
        if self._kind is CONTINUATION:
            self._violate(close_codes.PROTOCOL_ERROR, "a continuation of nothing")
            return
        if not self._join(frame) or not frame.fin:
            return
        assert self._joined is not None
        data, kind = self._joined.whole(), self._kind
        self._kind, self._joined = CONTINUATION, None
        self.messages += 1
        self.bytes += len(data)
        self.deliver(kind, data)

    def _join(self, frame: WSFrame) -> bool:
        assert self._joined is not None
        problem = self._joined.add(frame.get_payload_as_memoryview(), frame.fin)
        if problem is not None:
            self._violate(*problem)
        return problem is None

    def _answer(self, payload: bytes) -> None:
        # RFC 6455 5.5.3: where several pings wait for their pongs, the latest one's is enough.
        if self.full:
            self._pong = payload
        elif not self.closing:
            self._transport.send_pong(payload)

    def _take_close(self, payload: bytes) -> None:
        closing = close_codes.read_close(payload)
        if closing is None:
            self._violate(close_codes.PROTOCOL_ERROR, "a malformed close frame")
            return
        code, reason = closing
        self._kind = CLOSE
        if self.closing:
            self._end_connection()
            return
        # RFC 6455 5.5.1: answered with the same code.
        self._say_close(close_codes.sendable(code), "")
        self._end_connection()
        self._owner.leg_closed(self, code, reason)

    # --- wrong frames --------------------------------------------------------------------
    def _violate(self, code: int, what: str) -> None:
        self._kind, self._joined = CLOSE, None
        told = not self.closing
        if told:
            self._say_close(code, what)
        self._end_connection(hang_up=True)
        if told:
            self._owner.leg_violated(self, code, what)

    def parser_failed(self, code: int = close_codes.PROTOCOL_ERROR, what: str = "a malformed frame") -> None:
        """picows can't go on. What it had read before is delivered first: it tells this while it looks ahead."""
        if self.discarding:
            return
        if not close_codes.may_be_sent(int(code)):
            code = close_codes.PROTOCOL_ERROR
        self.discarding = True
        self._underlying.pause_reading()
        parting = self._protocol.parting()  # type: ignore[union-attr]
        if parting is not None and not self.closing:
            # What stands behind a close frame counts for nothing (RFC 6455 5.5.1); the close itself is told yet.
            self._transport.send_close(parting)
        elif not self.closing:
            # picows' own words would be longer; it keeps still when somebody has closed already.
            text = "the frame is too large" if code == close_codes.MESSAGE_TOO_BIG else "a malformed frame"
            self._transport.send_close(int(code), text)
        asyncio.get_running_loop().call_soon(self._after_failure, int(code), what)

    def _after_failure(self, code: int, what: str) -> None:
        told = not self.closing
        self._kind, self._joined = CLOSE, None
        self.closing = True
        self.closing_since = self.closing_since or monotonic()
        self.deliver = self.send = drop
        self._discard(hang_up=True)
        if told:
            self._owner.leg_violated(self, code, what)

    # --- the end -------------------------------------------------------------------------
    def _end_connection(self, hang_up: bool = False) -> None:
        """All has been said: wait for the peer to hang up, and take in what it says until then."""
        if not self.discarding:
            self.discarding = True
            self._underlying.pause_reading()
            # Not from within picows: it has frames left to tell of.
            asyncio.get_running_loop().call_soon(self._discard, hang_up)

    def _discard(self, hang_up: bool = False) -> None:
        if self.gone_for_good:
            return
        self._set_deadline()
        if self._underlying.is_closing():
            return
        self._underlying.set_protocol(Discard(self, DISCARDED_BYTES))
        self._underlying.resume_reading()
        if not self.client_side:
            # RFC 6455 7.1.1: the server is the one to hang up first.
            self._underlying.write_eof()
        elif hang_up:
            self._underlying.close()

    def _set_deadline(self) -> None:
        if self._deadline is None:
            self._unsent = self.unsent_bytes()
            self._deadline = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._overdue)

    def _overdue(self) -> None:
        """A peer that still takes what was sent before is waited for; one that doesn't is cut off."""
        self._deadline = None
        unsent = self.unsent_bytes()
        if 0 < unsent < self._unsent and monotonic() - self.closing_since < LONGEST_CLOSE_SECONDS:
            self._set_deadline()
        else:
            self.abort()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.gone()

    def gone(self) -> None:
        if self.gone_for_good:
            return
        self.gone_for_good = True
        self.deliver = self.send = drop
        if self._deadline is not None:
            self._deadline.cancel()
        released, self.released = self.released, None
        self._owner.leg_gone(self)
        self.closing = True
        self._protocol = None
        if released is not None:
            released()


def _is_text(data: bytes) -> bool:
    try:
        return data.decode() is not None
    except UnicodeDecodeError:
        return False
