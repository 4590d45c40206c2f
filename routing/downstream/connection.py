"""One client's connection: reads HTTP/1.1 requests, hands each to the application, writes the answers.

The parser is llhttp in its strict mode, through httptools: what two parsers could read in two ways is
refused here or, with a name and a record, by the decision core's hygiene (the scope then says `problem`).
Requests that come while one is being answered wait their turn, unread beyond what one packet held.
"""

import asyncio
import logging
import socket
import struct
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

import httptools

from routing.downstream.call import Call
from routing.downstream.request_target import split_target
from routing.downstream.websocket import WebSocketCall, is_websocket
from routing.pipeline.errors import (
    BadFraming,
    BadMethod,
    BadRequest,
    BadTarget,
    ClientTimeout,
    GatewayError,
    HeadersTooLarge,
)
from routing.pipeline.hygiene import HeaderMemo

if TYPE_CHECKING:
    from routing.downstream.clients import Clients

logger = logging.getLogger("gatehouse.clients")

# A head that doesn't end within this is not read to its end; what is allowed is far less (hygiene).
MAXIMUM_HEAD_BYTES = 131_072
# Framing (chunk sizes, extensions, trailers) that may come without a byte of body between it.
MAXIMUM_FRAMING_BYTES = 16_384
# A body further ahead of its reader than this stops the sender; the same for a reader of answers.
HIGH_WATER_BYTES = 65_536
LOW_WATER_BYTES = 16_384
# Requests of one packet that wait behind the first.
MAXIMUM_PIPELINED = 64
# After an answer that nobody needed the body for, the rest of the body is thrown away, up to this.
MAXIMUM_LINGER_BYTES = 1_048_576
_RESET = struct.pack("ii", 1, 0)


class ClientConnection(asyncio.Protocol):
    """Used from the event loop alone. Deadlines are looked at by the sweep of Clients."""

    # Defaults stand on the class: a connection pays only for what it sets.
    transport: Any = None
    writing_paused = False
    closing_soon = False
    closed = False
    call: Call | None = None
    head_since = 0.0
    lingering_since = 0.0
    closing_since = 0.0
    _stuck_since = 0.0
    _stuck_bytes = 0
    _lingered = 0
    _reading: Call | None = None  # the request whose body is coming
    _in_head = True
    _head_bytes = 0
    _expects_continue = False
    _framing_bytes = 0
    _refused = False
    _reading_paused = False
    _starting = False
    _pending: Call | None = None  # read just now, to be started when the packet has been parsed
    _waiting: "deque[Call] | None" = None
    _drainers: "list[asyncio.Future[None]] | None" = None
    _upgrading: WebSocketCall | None = None  # and from then on no more HTTP is read
    upgraded = False
    _foreign_method: bytes | None = None  # of a request that is refused for it

    def __init__(self, clients: "Clients") -> None:
        self.clients = clients
        self.loop = clients.loop
        self.heard_at = monotonic()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        # The fields of the request before, and what the decision core made of them.
        self._remembered: list[tuple[bytes, bytes]] | None = None
        self._memo = HeaderMemo()

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
        self._head_bytes += len(data)
        self._framing_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, GatewayError):
                raise
            self._refuse(cause, data)
        except httptools.HttpParserInvalidMethodError:
            self._refuse_method(data)
        except httptools.HttpParserError as error:
            self._refuse(_problem_of(error), data)
        if self._in_head:
            if self._head_bytes > MAXIMUM_HEAD_BYTES:
                self._refuse(HeadersTooLarge("a head without end"), data)
        elif self._framing_bytes > MAXIMUM_FRAMING_BYTES and self._reading is not None:
            self._refuse(BadFraming("framing without a body"), data)
        elif self._reading is not None and self._reading.buffered > HIGH_WATER_BYTES:
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
        if self._reading_paused and not self.closed and self._waiting is None:
            self._reading_paused = False
            self.transport.resume_reading()

    def finished(self, call: Call) -> None:
        """Its answer has been written whole: on to the next request, or to the end."""
        if call is not self.call:
            return
        self.call = None
        if not call.body_complete or self._refused:
            self._linger()
        elif not call.keep_alive:
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
            self.write(
                b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self._close()
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
        if self.call is None and not self._refused:
            self._close()

    def abort(self) -> None:
        if not self.closed:
            self.transport.abort()

    def _close(self) -> None:
        if not self.closed and not self.closing_since:
            self.closing_since = monotonic()
            self.transport.close()

    def _linger(self) -> None:
        """Close with unread bytes in the socket, and the peer's kernel throws the answer away: read on."""
        if self.closed or self.lingering_since:
            return
        self.lingering_since = monotonic()
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
        return self.call is None and self._in_head and not self._head_bytes

    def is_reading_head(self) -> bool:
        return self.call is None and self._in_head and bool(self._head_bytes)

    def is_waiting_for_body(self) -> bool:
        return self._reading is not None and not self._reading_paused

    def head_too_slow(self) -> None:
        """Slowloris: a head that comes byte by byte holds a connection for nothing."""
        self._refuse(ClientTimeout("the head did not come to its end"), b"")

    def check_progress(self, now: float, seconds: float) -> None:
        """Give up a client that takes nothing of what is sent to it."""
        unsent = self.transport.get_write_buffer_size()
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
        while self._waiting and self.call is None and not self.closed and not self.closing_since:
            self.call = self._waiting.popleft()
            self.clients.serve(self.call)
        self._starting = False
        if not self._waiting:
            self._waiting = None
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

    def _refuse(self, problem: GatewayError, data: bytes) -> None:
        """Nothing after this point can be told from the wrong bytes: answer, read no more, close."""
        if self._refused:
            return
        self._refused = True
        reading, self._reading = self._reading, None
        if self._foreign_method is not None and self._pending is not None:
            self._pending.keep_alive = False
            return
        if reading is not None and not reading.body_complete:
            reading.problem = problem.reason or problem.message
            reading.keep_alive = False
            reading.wake()
            return
        method = b""
        if self._in_head and self._url:
            method = self._parser.get_method()
        elif self._in_head:
            method = data[:40].lstrip(b"\r\n").partition(b" ")[0]
        call = Call(self, self._scope(method, self._url))
        call.scope["problem"] = problem
        call.keep_alive = False
        self._enqueue(call)

    def _refuse_method(self, data: bytes) -> None:
        """Read the request as if its method were one, so that it is refused under its own ids."""
        method, space, rest = data.lstrip(b"\r\n").partition(b" ")
        if space and self._head_bytes == len(data) and self._foreign_method is None:
            self._foreign_method = method
            self._parser = httptools.HttpRequestParser(self)
            try:
                self._parser.feed_data(b"GET " + rest)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                pass
        self._refuse(BadMethod("no method that HTTP/1.1 has"), data)

    def _enqueue(self, call: Call) -> None:
        if self.call is None and self._pending is None:
            # Not yet: most bodies come with their heads, and are whole before anybody asks for them.
            self._pending = call
            self.clients.start_soon(self)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(call)
        self._pause()

    def _scope(self, method: bytes, target: bytes) -> dict[str, Any]:
        """What the data plane reads of a request; Call.asgi_scope adds what else ASGI has."""
        raw_path, _, query = target.partition(b"?")
        headers = self._headers
        if headers != self._remembered:
            self._remembered, self._memo = headers, HeaderMemo()
        return {
            "type": "http",
            "method": method.decode("latin-1"),
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
            "client": self._client,
            "memo": self._memo,
        }

    def _after_upgrade(self, rest: bytes) -> None:
        """WebSocket frames, or a protocol that is not spoken here: then it is HTTP/1.1 as before."""
        if self._upgrading is not None:
            self._upgrading.feed_early(rest)
            return
        self._parser = httptools.HttpRequestParser(self)
        if rest and not self.closed:
            self.data_received(rest)

    # --- httptools callbacks -------------------------------------------------------------
    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._in_head = True
        self._expects_continue = False
        if self._waiting is not None and len(self._waiting) >= MAXIMUM_PIPELINED:
            raise BadFraming("too many requests without waiting for an answer")

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else a trailer: dropped
            name = name.lower()
            if value[-1:].isspace():
                # RFC 9110 5.5: white space around a value is no part of it; the parser cuts the leading one.
                value = value.rstrip(b" \t")
            if name == b"expect" and value.lower() == b"100-continue":
                self._expects_continue = True
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        method = parser.get_method() if self._foreign_method is None else self._foreign_method
        version = parser.get_http_version()
        url = self._url
        problem: GatewayError | None = None
        if self._foreign_method is not None:
            # One request for one method: what follows it is not read.
            if self._reading is not None or self._pending is not None:
                return
            problem = BadMethod("no method that HTTP/1.1 has")
        if url[:1] != b"/" or b"#" in url:
            url, wrong = split_target(url, method, self._headers)
            problem = problem or wrong
        scope = self._scope(method, url)
        if parser.should_upgrade() and is_websocket(scope):
            call: Call
            call = self._upgrading = WebSocketCall(self, scope)
            problem = problem or self._upgrading.handshake_problem()
        else:
            call = Call(self, scope)
            if method == b"HEAD":
                call.head_only = True
        if version != "1.1":
            problem = problem or self._older(call, version)
        if problem is not None:
            call.scope["problem"] = problem
            call.keep_alive = False
        elif not parser.should_keep_alive():
            call.keep_alive = False
        if self._expects_continue:
            call.expects_continue = not call.old
        self._in_head = False
        self._head_bytes = self._framing_bytes = 0
        self._reading = call
        self._enqueue(call)

    def _older(self, call: Call, version: str) -> GatewayError | None:
        if version != "1.0":
            return BadRequest(f"HTTP/{version} is not spoken here")
        call.old = True
        if any(name == b"transfer-encoding" for name, _ in self._headers):
            return BadFraming("Transfer-Encoding in HTTP/1.0")
        return None

    def on_body(self, data: bytes) -> None:
        self._framing_bytes = 0
        call = self._reading
        if call is not None and not call.finished:
            call.feed(data)

    def on_message_complete(self) -> None:
        call, self._reading = self._reading, None
        self._in_head = True
        self._head_bytes = 0
        if call is not None:
            call.body_complete = True
            if call is self.call:
                call.wake()


def _problem_of(error: httptools.HttpParserError) -> GatewayError:
    """The parser's verdict as a refusal; its words are about the form alone and quote nothing."""
    if isinstance(error, httptools.HttpParserInvalidURLError):
        return BadTarget(str(error))
    return BadFraming(str(error))
