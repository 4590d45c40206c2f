"""Have picows parse and write frames on a connection that it did not open, as either end of it.

The handshake is done elsewhere; picows is shown one of its own kind so that it goes on to frames. What it
finds wrong it tells to its logger alone, so that is where the leg listens.
"""

from typing import TYPE_CHECKING, Any

from picows import WSCloseCode
from picows.picows import WSProtocol

from routing.relay import close_codes
from routing.relay.handshake import accept_for

if TYPE_CHECKING:
    from routing.relay.frames import Leg

# The least that picows takes; a buffer that has grown beyond the second is replaced when it is empty.
READ_BUFFER_BYTES = 2048
GROWN_BYTES = 16_384
# One turn of the loop reads no more of a connection, however large its buffer: what it held is on its way
# before anybody can pause it, and thousands of tiny frames would keep all the other connections waiting.
READ_BYTES = 32_768

_REQUEST = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)


class FrameProtocol(WSProtocol):  # type: ignore[misc]
    """picows between a transport and a leg."""

    __slots__ = ("_capped", "_leg", "carrier")

    def __init__(self, leg: "Leg", transport: Any, client_side: bool, max_frame_bytes: int) -> None:
        # No automatic pings or pongs: the leg has its own, which know when to keep still.
        super().__init__(
            "-", "/", client_side, lambda *_: leg, _Verdicts(leg), True, None, False, 10, 10, 1, False,
            max_frame_bytes, None, READ_BUFFER_BYTES,
        )  # fmt: skip
        self._leg = leg
        self._capped = False
        self.carrier = _Carrier(transport)
        self.connection_made(self.carrier)
        if client_side:
            key = self.transport.request.headers["Sec-WebSocket-Key"].encode()
            self.feed(_SWITCHED % accept_for(key))
        else:
            self.feed(_REQUEST)
        self.carrier.muted = False

    def get_buffer(self, size_hint: int) -> memoryview:
        self._leg.tail = 1  # there may be part of a frame from now on
        room: memoryview = WSProtocol.get_buffer(self, size_hint)
        if len(room) <= READ_BYTES:
            return room
        self._capped = True
        return room[:READ_BYTES]

    def buffer_updated(self, size: int) -> None:
        WSProtocol.buffer_updated(self, size)
        if self._capped:
            self._capped = False
            self._leg.let_others_read()

    def room(self) -> int:
        """What is left of the buffer; it changes whenever bytes have come that are no whole frame yet."""
        return len(WSProtocol.get_buffer(self, -1))

    def parting(self) -> int | None:
        """The code to answer the peer's close frame with; None while none has been read."""
        closing = self.transport.close_handshake
        if closing is None or closing.recv is None:
            return None
        code = int(closing.recv.code)
        if code == WSCloseCode.NO_INFO:
            # picows can't send a close without a code that it would take for one.
            return close_codes.NORMAL
        return close_codes.sendable(code)

    def feed(self, data: bytes) -> None:
        """Hand bytes to the parser as if the socket had brought them."""
        # After an error picows would go on in the middle of the frame that it refused.
        while data and not self._leg.discarding:
            buffer = self.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self.buffer_updated(size)
            data = data[size:]


class _Carrier:
    """The transport as picows sees it."""

    __slots__ = (
        "_socket",
        "_transport",
        "abort",
        "close",
        "get_write_buffer_size",
        "is_closing",
        "muted",
    )

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.muted = True  # swallows the handshake that picows writes by itself
        self.get_write_buffer_size = transport.get_write_buffer_size
        self._socket = _Socket(transport.get_extra_info("socket").fileno())
        self.abort = transport.abort
        self.is_closing = transport.is_closing
        # After an error picows would close at once; the leg ends the connection in its own way.
        self.close = _nothing

    def get_extra_info(self, name: str) -> Any:
        if name == "socket":
            return self._socket
        # Addresses are asked for a log that nobody reads.
        return self._transport.get_extra_info(name) if name == "ssl_object" else None

    def write(self, data: Any) -> None:
        if not self.muted:
            self._transport.write(data)

    def writelines(self, parts: Any) -> None:
        # The first is a view of a buffer that the next frame's header goes to.
        header, payload = parts
        self._transport.writelines([bytes(header), payload])


class _Socket:
    """The socket as picows sees it: its options are the transport's business, and asking costs system calls."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def setsockopt(self, *_: int) -> None:
        pass

    def getsockopt(self, *_: int) -> int:
        return 0


def _nothing() -> None:
    pass


class _Verdicts:
    """What picows takes for its logger."""

    __slots__ = ("_leg",)

    def __init__(self, leg: "Leg") -> None:
        self._leg = leg

    def isEnabledFor(self, level: int) -> bool:
        return False

    def _ignore(self, *_: Any) -> None:
        pass

    debug = info = log = warning = _ignore

    def error(self, text: str, *values: Any) -> None:
        arguments = values[0] if values and isinstance(values[0], tuple) else ()
        self._leg.parser_failed(*arguments[:2])

    def exception(self, text: str, *values: Any) -> None:
        self._leg.parser_failed()


class Discard:
    """Reads to the end and keeps nothing: closing with bytes unread would take our last words back.

    A protocol for asyncio, but not derived from its: this one has nothing to do when data is written.
    """

    __slots__ = ("_leg", "_room")

    def __init__(self, leg: "Leg", most_bytes: int) -> None:
        self._leg = leg
        self._room = most_bytes

    def connection_made(self, transport: Any) -> None:
        """Never called: the connection was there before."""

    def data_received(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self._leg.abort()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._leg.gone()

    def pause_writing(self) -> None:
        """Nothing more is written."""

    def resume_writing(self) -> None:
        """Nothing more is written."""
