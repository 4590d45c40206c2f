"""One HTTP/1.1 client connection: writes a request, parses what comes back, never guesses.

Framing follows RFC 9112 6.3. The parser is llhttp through httptools; it does not know which
request a response answers, so HEAD, and bodies that end with the connection, are handled here.
Nothing here retries, chooses targets or knows of routes.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import httptools

from routing.pipeline.errors import (
    GatewayError,
    UpstreamAborted,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)

MAXIMUM_HEADER_COUNT = 200
MAXIMUM_HEADER_BYTES = 65_536
# A reader further behind than this stops the far sender.
HIGH_WATER_BYTES = 131_072
LOW_WATER_BYTES = 32_768
_WITHOUT_BODY = frozenset({204, 304})


class Response:
    """Status and header fields as they came, names in lower case."""

    __slots__ = ("chunked", "connection", "content_length", "headers", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = headers
        self.content_length: int | None = None
        self.chunked = False
        self.connection = b""


class UpstreamConnection(asyncio.Protocol):
    """Carries one request at a time; `reusable` says whether another may follow.

    `deadline` is looked at by the pool's sweep several times a second, so that a request costs no
    timer of its own.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: Any = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._closed = False
        self._paused = False
        self._reading_paused = False
        self._drain_waiter: asyncio.Future[None] | None = None
        self.requests = 0
        self.idle_since = 0.0
        self._reset("GET")
        # Between requests nothing may come: `complete` is what data_received looks at.
        self.complete = True

    def _reset(self, method: str) -> None:
        self._method = method
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._head = False
        self._response: Response | None = None
        self._response_waiter: asyncio.Future[Response] | None = None
        # Called once, without a task: the response's head has come, or none will.
        self.on_answer: Callable[[], None] | None = None
        self._whole_only = False
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._read_waiter: asyncio.Future[None] | None = None
        self._until_close = False
        self._failure: GatewayError | None = None
        self.complete = False
        self.received_anything = False
        self.deadline = 0.0
        self.idle_timeout = 0.0

    # --- writing -------------------------------------------------------------------------
    def start(self, method: str, head: bytes, response_timeout: float, idle_timeout: float) -> None:
        """Write a request head (with the body, if it is at hand) and expect a response to it."""
        self._reset(method)
        if self._closed:
            # Its end came since it was chosen: the transport would raise.
            self._failure = UpstreamUnreachable("the connection was closed in the pool")
            return
        self.requests += 1
        self.idle_timeout = idle_timeout
        self.deadline = monotonic() + response_timeout
        self._transport.write(head)

    def write(self, data: bytes) -> None:
        """Write a part of the body; the upstream has the idle time to take it. Raises UpstreamAborted."""
        if self._closed:
            raise self._failure or UpstreamAborted("connection closed while the body was sent")
        self._transport.write(data)
        if self._response is None:
            self.deadline = monotonic() + self.idle_timeout

    def await_client(self) -> None:
        """The client is slow to send its body: that is not held against the upstream."""
        if self._response is None:
            self.deadline = 0.0

    def expect_response_within(self, seconds: float) -> None:
        """The body has been sent: from here on the response is due."""
        if self._response is None:
            self.deadline = monotonic() + seconds

    async def drain(self) -> None:
        """Wait until the socket takes more. Raises UpstreamAborted when it is gone."""
        if self._paused and not self._closed:
            self._drain_waiter = self._loop.create_future()
            try:
                await self._drain_waiter
            finally:
                self._drain_waiter = None
        if self._closed:
            raise self._failure or UpstreamAborted("connection closed while the body was sent")

    # --- reading -------------------------------------------------------------------------
    def response(self) -> "asyncio.Future[Response]":
        """A future of the response's head; it fails with an UpstreamFailure or what `fail` was given."""
        waiter = self._loop.create_future()
        if self._response is not None:
            waiter.set_result(self._response)
        elif self._failure is not None:
            waiter.set_exception(self._failure)
        else:
            self._response_waiter = waiter
        return waiter

    @property
    def answer(self) -> Response | None:
        """The response's head, once it is there."""
        return self._response

    def take(self) -> bytes:
        """What has come of the body so far, without waiting."""
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self._buffered = 0
        return data

    async def read(self) -> bytes:
        """Wait for more of the body; b"" at its end. Raises UpstreamAborted or UpstreamTimeout."""
        while True:
            data = self.take()
            if data:
                return data
            # First: a body that came whole stays whole, whatever broke off after it.
            if self.complete:
                return b""
            if self._failure is not None:
                raise self._failure
            if self._reading_paused and not self._closed:
                self._reading_paused = False
                self._transport.resume_reading()
            # Only while we wait can the upstream be late: a slow client is not its fault.
            self.deadline = monotonic() + self.idle_timeout
            self._read_waiter = self._loop.create_future()
            try:
                await self._read_waiter
            finally:
                self._read_waiter = None
                self.deadline = 0.0

    @property
    def reusable(self) -> bool:
        return (
            self.complete
            and not self._closed
            and not self._until_close
            and self._failure is None
            and not self._paused
            and not self._reading_paused
        )

    @property
    def failed(self) -> bool:
        return self._failure is not None

    @property
    def closed(self) -> bool:
        return self._closed

    def abort(self) -> None:
        """Close at once; whatever is unsent is thrown away."""
        self._closed = True
        # A body that would end with the connection was cut by us, not ended by the upstream.
        self._until_close = False
        if self._transport is not None:
            self._transport.abort()

    def expire(self) -> None:
        """The deadline has passed."""
        self.fail(UpstreamTimeout("no byte from the upstream in time"))

    # --- asyncio.Protocol ----------------------------------------------------------------
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self.complete:
            # A byte that nobody asked for: a response to a request that was never sent.
            self.abort()
            return
        self.received_anything = True
        if not self._head:
            self._head_bytes += len(data)
            # The packet that ends the head may hold much of the body: what counts is a head without end.
            if self._head_bytes - len(data) > MAXIMUM_HEADER_BYTES:
                self.fail(UpstreamInvalid("response headers too large"))
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail(UpstreamInvalid("101 that was not asked for"))
        except httptools.HttpParserError as error:
            cause = error.__context__ if isinstance(error.__context__, GatewayError) else None
            self.fail(cause or UpstreamInvalid(f"{type(error).__name__}: {error}"))
        self._wake()

    def _wake(self) -> None:
        """Hand on what one packet brought, once it has been parsed whole."""
        response = self._response
        if response is not None:
            waiter = self._response_waiter
            if waiter is not None:
                self._response_waiter = None
                self.deadline = 0.0
                if not waiter.done():
                    waiter.set_result(response)
            elif self.on_answer is not None and (self.complete or not self._whole_only):
                self.deadline = 0.0
                self.answer_now()
        reader = self._read_waiter
        if reader is not None and not reader.done() and (self._chunks or self.complete or self._failure):
            reader.set_result(None)
        if self._buffered > HIGH_WATER_BYTES and not self._closed and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def wait_for_body(self, on_answer: Callable[[], None]) -> None:
        """Call again when the body has come whole, or won't."""
        self.on_answer = on_answer
        self._whole_only = True
        self.deadline = monotonic() + self.idle_timeout

    def answer_now(self) -> None:
        """Call whoever waits for the answer, once."""
        on_answer, self.on_answer = self.on_answer, None
        if on_answer is not None:
            on_answer()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        if self._until_close and exc is None and not self.complete and self._failure is None:
            # RFC 9112 6.3 rule 8: this body ends where the connection does.
            self.complete = True
        if not self.complete:
            self._fail(self._failure_of_closing(exc))
        self._wake()
        waiter = self._drain_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _failure_of_closing(self, exc: Exception | None) -> GatewayError:
        if self._response is not None:
            return UpstreamAborted(f"upstream closed mid-response ({exc or 'end of stream'})")
        if self.received_anything:
            return UpstreamInvalid("upstream closed within the response's head")
        return UpstreamUnreachable(f"upstream closed before it answered ({exc or 'end of stream'})")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        waiter = self._drain_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, failure: GatewayError) -> None:
        """Break off: whoever waits for this connection gets the failure."""
        self._fail(failure)
        self.abort()

    def _fail(self, failure: GatewayError) -> None:
        if self._failure is None:
            self._failure = failure
        waiter = self._response_waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(self._failure)
        elif self.on_answer is not None:
            self._loop.call_soon(self.answer_now)
        reader = self._read_waiter
        if reader is not None and not reader.done():
            reader.set_result(None)

    # --- httptools callbacks -------------------------------------------------------------
    def on_message_begin(self) -> None:
        if self.complete:
            # A second response in the same packet: this connection can't be trusted any more.
            raise UpstreamInvalid("more bytes than one response")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head:  # else a trailer: dropped
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            # 100 and 103 come before the response; 101 is refused as an upgrade nobody asked for.
            self._headers = []
            if status == 101:
                raise UpstreamInvalid("101 that was not asked for")
            if status < 100:
                raise UpstreamInvalid(f"status {status:03d}")
            return
        if len(self._headers) > MAXIMUM_HEADER_COUNT:
            raise UpstreamInvalid("too many response headers")
        response = Response(status, self._headers)
        for name, value in self._headers:
            if name == b"content-length":
                response.content_length = int(value)
            elif name == b"transfer-encoding":
                if response.chunked or value.strip().lower() != b"chunked":
                    raise UpstreamInvalid("a transfer coding other than chunked")
                response.chunked = True
            elif name == b"connection":
                response.connection = (
                    b",".join((response.connection, value)) if response.connection else value
                )
        if response.chunked and response.content_length is not None:
            raise UpstreamInvalid("Content-Length beside Transfer-Encoding")
        self._head = True
        self._response = response
        if self._method == "HEAD":
            self._finish_head_response(response)
        elif response.content_length is None and not response.chunked and status not in _WITHOUT_BODY:
            self._until_close = True

    def on_body(self, data: bytes) -> None:
        if self.complete:
            raise UpstreamInvalid("a body where none may be")
        self._chunks.append(data)
        self._buffered += len(data)

    def on_message_complete(self) -> None:
        if not self._head or self._method == "HEAD":
            return  # an interim response, or one that was complete with its head
        self.complete = True
        if not self._parser.should_keep_alive():
            self._close_soon()

    def _finish_head_response(self, response: Response) -> None:
        # llhttp would wait for the body that Content-Length speaks of; a HEAD response has none.
        self.complete = True
        parser, self._parser = self._parser, httptools.HttpResponseParser(self)
        framed = response.chunked or response.content_length is not None
        says_close = b"close" in response.connection.lower()
        # Without a length the parser thinks that the body ends with the connection.
        if says_close or parser.get_http_version() == "1.0" or (framed and not parser.should_keep_alive()):
            self._close_soon()

    def _close_soon(self) -> None:
        self._closed = True
        self._loop.call_soon(self.abort)
