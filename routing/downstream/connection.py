"""One client's connection: hands each request to the application, writes the answers, ends in good order.

Requests that come while one is being answered wait their turn, unread beyond what one packet held.
"""

import asyncio
import logging
import socket
import struct
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from routing.downstream.call import Call
from routing.downstream.request_reader import RequestReader
from routing.pipeline.errors import BadFraming, ClientTimeout

if TYPE_CHECKING:
    from routing.downstream.clients import Clients

logger = logging.getLogger("gatehouse.clients")

# A body further ahead of its reader than this stops the sender; the same for a reader of answers.
HIGH_WATER_BYTES = 65_536
LOW_WATER_BYTES = 16_384
# Requests that wait behind the first: from so many on no more is read. Until then it is read on, as a client
# that leaves is seen by nobody who doesn't.
PIPELINED_HIGH_WATER = 16
# What one packet held more of is refused.
MAXIMUM_PIPELINED = 64
# After an answer that nobody needed the body for, the rest of the body is thrown away, up to this.
MAXIMUM_LINGER_BYTES = 8_388_608
_RESET = struct.pack("ii", 1, 0)


class ClientConnection(RequestReader):
    """Used from the event loop alone. Deadlines are looked at by the sweep of Clients."""

    # Defaults stand on the class: a connection pays only for what it sets.
    transport: Any = None
    writing_paused = False
    closing_soon = False
    call: Call | None = None
    head_since = 0.0
    lingering_since = 0.0
    closing_since = 0.0
    busy_at = 0.0  # when the sweep last saw that something was under way
    _stuck_since = 0.0
    _stuck_bytes = 0
    _lingered = 0
    _reading_paused = False
    _starting = False
    _pending: Call | None = None  # read just now, to be started when the packet has been parsed
    _waiting: "deque[Call] | None" = None
    _waiting_bytes = 0
    _drainers: "list[asyncio.Future[None]] | None" = None
    upgraded = False

    def __init__(self, clients: "Clients") -> None:
        super().__init__()
        self.clients = clients
        self.loop = clients.loop
        self.heard_at = monotonic()

    # --- asyncio.Protocol ----------------------------------------------------------------
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self._client = tuple(peer[:2]) if peer else None
        if not self.clients.add(self):
            self.closed = True
            transport.abort()
            return
        transport.set_write_buffer_limits(HIGH_WATER_BYTES, LOW_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        self.heard_at = monotonic()
        if self._refused or self.lingering_since:
            self._throw_away(len(data))
            return
        if self._upgrading is not None:
            if self._upgrading.feed_early(data) > HIGH_WATER_BYTES:
                self._pause()
            return
        if self._in_head and not self._head_bytes:
            self.head_since = self.heard_at
        self._read(data)
        if self._reading is not None and self._reading.buffered > HIGH_WATER_BYTES:
            self._pause()
        elif self._waiting is not None:
            self._waiting_bytes += len(data)
            if self._waiting_bytes > HIGH_WATER_BYTES:
                self._pause()

    def eof_received(self) -> None:
        """A client that has closed its side is taken to have left: what it still reads can't be known."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.clients.discard(self)
        waiting, self._waiting = self._waiting, None
        for call in (self.call, self._reading, *(waiting or ())):
            if call is not None and not call.disconnected:
                call.leave()
        self._release_writers()

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        self._release_writers()
        if self._waiting and self.call is None and not self._starting:
            self._start_waiting()

    # --- for the call --------------------------------------------------------------------
    def write(self, data: bytes) -> None:
        if not self.closed:
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the socket takes more, or is gone."""
        if self.writing_paused and not self.closed:
            waiter: asyncio.Future[None] = self.loop.create_future()
            if self._drainers is None:
                self._drainers = []
            self._drainers.append(waiter)
            await waiter

    def resume(self) -> None:
        if self._reading_paused and not self.closed and not self.closing_since and self._waiting is None:
            self._reading_paused = False
            self.transport.resume_reading()

    def finished(self, call: Call) -> None:
        """Its answer has been written whole: on to the next request, or to the end."""
        if call is not self.call:
            return
        self.call = None
        if not call.body_complete:
            self._linger()
        elif not call.keep_alive:
            if self._refused:
                self._linger()
            else:
                self._close()
        elif self._waiting:
            if not self._starting:
                self._start_waiting()
        elif self.closing_soon and self._pending is None:
            self._close()

    def break_off(self, call: Call) -> None:
        """End a response that will never be whole, so that nobody takes it for one."""
        if call.responded and call.old and not self.closed:
            # Only the connection's end would say where this body ends: a reset says that it doesn't.
            stream = self.transport.get_extra_info("socket")
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if not call.responded and not self.closed:
            # An application gives up a body that can't be read without a word: the fault is the client's.
            status = b"400 Bad Request" if call.problem else b"500 Internal Server Error"
            self.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
            self._linger()
            return
        self.abort()

    def report(self, failure: BaseException) -> None:
        self.clients.report(failure)

    # --- ends ----------------------------------------------------------------------------
    def hand_over(self) -> Any:
        """The transport, for a protocol that takes it over from here; this connection only counts it."""
        self.upgraded = True
        return self.transport

    def socket_ended(self) -> None:
        """What took the transport over has seen its end."""
        self.connection_lost(None)

    def close_when_idle(self) -> None:
        """Answer what has been asked, and nothing after it."""
        self.closing_soon = True
        if self.upgraded:
            assert self._upgrading is not None
            self._upgrading.drain()
            return
        if self.is_idle() and not self._refused:
            self._close()

    def abort(self) -> None:
        if not self.closed:
            self.transport.abort()

    def _close(self) -> None:
        if not self.closed and not self.closing_since:
            self.closing_since = monotonic()
            self._waiting = None
            self.transport.close()

    def _linger(self) -> None:
        """Close with unread bytes in the socket, and the peer's kernel throws the answer away: read on."""
        if self.closed or self.lingering_since or self.closing_since:
            return
        self.lingering_since = monotonic()
        self._waiting = None
        self._reading_paused = False
        self.transport.resume_reading()
        self.transport.write_eof()

    def _throw_away(self, size: int) -> None:
        self._lingered += size
        if self._lingered > MAXIMUM_LINGER_BYTES:
            self.abort()

    # --- deadlines -----------------------------------------------------------------------
    def is_idle(self) -> bool:
        """Between requests: nothing of the next one has come."""
        return (
            self.call is None
            and self._pending is None
            and not self._waiting
            and not self._begun
            and not self._head_bytes
        )

    def is_reading_head(self) -> bool:
        return self.call is None and self._in_head and (self._begun or bool(self._head_bytes))

    def is_waiting_for_body(self) -> bool:
        return self._reading is not None and not self._reading_paused and self._reading.is_guarded

    def head_too_slow(self) -> None:
        """Slowloris: a head that comes byte by byte holds a connection for nothing."""
        self._refuse(ClientTimeout("the head did not come to its end"), b"")

    @property
    def unsent_bytes(self) -> int:
        """What the client's side has not taken yet."""
        size: int = self.transport.get_write_buffer_size()
        return size

    def check_progress(self, now: float, unsent: int, seconds: float) -> None:
        """Give up a client that takes nothing of what is sent to it."""
        if self.call is not None and not self.call.is_guarded:
            return
        if unsent != self._stuck_bytes or not self._stuck_since:
            self._stuck_bytes, self._stuck_since = unsent, now
        elif now - self._stuck_since > seconds:
            self.abort()

    # --- requests ------------------------------------------------------------------------
    def start_pending(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None and not self.closed:
            self._start(pending)

    def _start(self, call: Call) -> None:
        self.call = call
        self._starting = True
        self.clients.serve(call)
        self._starting = False
        if self._waiting is not None and self.call is None:
            self._start_waiting()

    def _start_waiting(self) -> None:
        """One after the other, for as long as each is answered at once."""
        self._starting = True
        # Answers to who doesn't read would gather: the next request has to wait for that, too.
        while self._waiting and self.call is None and not self.closed and not self.writing_paused:
            self.call = self._waiting.popleft()
            self.clients.serve(self.call)
        self._starting = False
        if not self._waiting:
            self._waiting = None
            self._waiting_bytes = 0
            self.resume()

    def _pause(self) -> None:
        if not self._reading_paused and not self.closed:
            self._reading_paused = True
            self.transport.pause_reading()

    def _release_writers(self) -> None:
        waiters, self._drainers = self._drainers, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _enqueue(self, call: Call) -> None:
        if self.call is None and self._pending is None and not self._waiting and not self.writing_paused:
            # Not yet: most bodies come with their heads, and are whole before anybody asks for them.
            self._pending = call
            self.clients.start_soon(self)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(call)
        if len(self._waiting) >= PIPELINED_HIGH_WATER:
            self._pause()

    def _check_pipeline(self) -> None:
        if self._waiting is not None and len(self._waiting) >= MAXIMUM_PIPELINED:
            raise BadFraming("too many requests without waiting for an answer")

    def _is_answering(self, call: Call) -> bool:
        return call is self.call
