"""One request and its response, the way ASGI has them: a scope, `receive` and `send`.

The connection feeds it with the body; it writes the response to the connection. Framing is its own:
whatever an application says of it, lengths are counted, and a response that ends short is never made to
look whole (RFC 9112 sections 6 and 8).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from routing.downstream.response_writer import WITHOUT_BODY, ResponseHead, whole_head

if TYPE_CHECKING:
    from routing.downstream.connection import ClientConnection

Headers = list[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
ASGIApplication = Callable[[dict[str, Any], Receive, Send], Any]

_ASGI = {"version": "3.0", "spec_version": "2.3"}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class WrongLength(RuntimeError):
    """An application sent more, or fewer, bytes than its Content-Length says."""


class Call:
    """Served by one run of the application, or by `respond`. Used from the event loop alone.

    `scope` has what the data plane reads; `asgi_scope` is the whole of it, for any ASGI application.
    """

    # Defaults stand on the class: a request pays only for what it sets.
    keep_alive = True
    head_only = False
    old = False  # HTTP/1.0
    expects_continue = False
    # Whether the sweep ends it when the client dawdles; where not, whoever answers it does.
    is_guarded = True
    body_complete = False
    problem = ""  # why no more of the body can be read
    disconnected = False
    responded = False  # the head of the response is on its way
    finished = False
    task: "asyncio.Task[None] | None" = None
    buffered = 0
    on_left: "Callable[[], None] | None" = None  # called once when the client leaves before its answer
    _end_given = False
    _waiters: "list[asyncio.Future[None]] | None" = None
    _start: dict[str, Any] | None = None
    _chunked = False
    _remaining: int | None = None

    def __init__(self, connection: "ClientConnection", scope: dict[str, Any]) -> None:
        self.connection = connection
        self.scope = scope
        self._parts: list[bytes] = []

    # --- the body, from the connection ---------------------------------------------------
    def feed(self, data: bytes) -> None:
        self._parts.append(data)
        self.buffered += len(data)
        if self._waiters:
            self.wake()

    def wake(self) -> None:
        """Let everybody who waits in `receive` look again."""
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def leave(self) -> None:
        """The client has gone."""
        self.disconnected = True
        if self._waiters:
            self.wake()
        if self.on_left is not None:
            self.on_left()

    # --- without a task ------------------------------------------------------------------
    def take_whole_body(self) -> bytes:
        """The body of a request that has been read to its end and not been asked for before."""
        body: bytes = self._take()["body"] if self._parts else b""
        self._end_given = True
        return body

    def respond(self, start: dict[str, Any], body: bytes) -> None:
        """The whole answer at once: ASGI's start message and all of the body. Raises as `send`."""
        if not self.disconnected:
            self._start = start
            self.connection.write(self._opening(body, False))
            self._finish()

    def respond_lines(self, status: int, lines: list[bytes], body: bytes) -> None:
        """The same with header fields as lines, for the way that most answers take."""
        if self.disconnected:
            return
        if not self.keep_alive or self.connection.closing_soon:
            self.keep_alive = False
            lines.append(b"connection: close")
        elif self.old:
            lines.append(b"connection: keep-alive")
        head = whole_head(status, lines, len(body))
        self.responded = True
        self.connection.write(head + body)
        self._finish()

    # --- ASGI ----------------------------------------------------------------------------
    def run(self, application: ASGIApplication) -> None:
        self.run_task(application(self.asgi_scope(), self.receive, self.send))

    def run_task(self, work: Any) -> None:
        """Answer in a task of its own."""
        self.task = self.connection.loop.create_task(work)
        self.task.add_done_callback(self.ended)

    def asgi_scope(self) -> dict[str, Any]:
        scope = self.scope
        raw_path = scope["raw_path"]
        path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
        return {
            "asgi": _ASGI,
            "http_version": "1.0" if self.old else "1.1",
            "server": self.connection.clients.server,
            "scheme": "http",
            "root_path": "",
            "path": path.decode("utf-8", "replace"),
            "extensions": {},
        } | scope

    async def receive(self) -> dict[str, Any]:
        """The next part of the body; `http.disconnect` when the client has left or has its answer.

        A body that can't be parsed ends with `http.disconnect` too, and says so under `problem`.
        """
        while True:
            if self.disconnected or self.finished:
                return {"type": "http.disconnect"}
            if self._parts or (self.body_complete and not self._end_given):
                return self._take()
            if self.problem:
                return {"type": "http.disconnect", "problem": self.problem}
            if self.expects_continue and not self.responded and not self.body_complete:
                self.expects_continue = False
                self.connection.write(CONTINUE)
            waiter: asyncio.Future[None] = self.connection.loop.create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            await waiter

    def _take(self) -> dict[str, Any]:
        parts = self._parts
        if not parts:
            data = b""
        elif len(parts) == 1:
            data = parts[0]
        else:
            data = b"".join(parts)
        self._parts = []
        self.buffered = 0
        self._end_given = self.body_complete
        if not self.body_complete:
            self.connection.resume()
        return {"type": "http.request", "body": data, "more_body": not self.body_complete}

    async def send(self, message: dict[str, Any]) -> None:
        """Raises UnsafeHeader or WrongLength; returns when the socket can take more, or is gone."""
        if message["type"] == "http.response.start":
            if self._start is not None:
                raise RuntimeError("a response has one head")
            # Written with the first part of the body: they mostly fit in one packet.
            self._start = message
            return
        if message["type"] != "http.response.body":
            raise RuntimeError(f"{message['type']} is no part of an HTTP response")
        if self.disconnected or self.finished:
            return
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        data = self._framed(body, more) if self.responded else self._opening(body, more)
        connection = self.connection
        if data:
            connection.write(data)
        if not more:
            self._finish()
        elif connection.writing_paused:
            await connection.drain()

    def _opening(self, body: bytes, more: bool) -> bytes:
        start = self._start
        if start is None:
            raise RuntimeError("a response begins with its head")
        status: int = start["status"]
        head = ResponseHead(status, start["headers"])
        length = head.length
        framing = b""
        if status in WITHOUT_BODY or self.head_only:
            # RFC 9110 8.6: a length may be told, and nothing comes.
            if length is not None and status != 204:
                framing = b"content-length: %d" % length
            self._remaining = 0
            body = b""
        elif length is not None or not more:
            if length is None:
                length = len(body)
            framing = b"content-length: %d" % length
            self._remaining = length - len(body)
        elif self.old:
            self.keep_alive = False
        else:
            framing = b"transfer-encoding: chunked"
            self._chunked = True
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        if self._remaining is not None and self._remaining < 0:
            raise WrongLength("the body is longer than its Content-Length")
        if head.closes or self.connection.closing_soon:
            self.keep_alive = False
        if not self.keep_alive:
            head.closes = True
        elif self.old:
            head.stays = True
        encoded = head.encode(framing)
        self.responded = True
        return encoded + body

    def _framed(self, body: bytes, more: bool) -> bytes:
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return data if more else data + b"0\r\n\r\n"
        if self._remaining is not None:
            if self.head_only or not body:
                return b""
            self._remaining -= len(body)
            if self._remaining < 0:
                raise WrongLength("the body is longer than its Content-Length")
        return body

    def _finish(self) -> None:
        if self._remaining:
            raise WrongLength("the body is shorter than its Content-Length")
        self.finished = True
        self._parts = []
        if self._waiters:
            self.wake()
        self.connection.finished(self)

    # --- the end of the application ------------------------------------------------------
    def ended(self, task: "asyncio.Task[None]") -> None:
        """The application has returned or failed: a response that isn't whole is broken off."""
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self.connection.report(failure)
        if not self.finished and not self.disconnected:
            self.connection.break_off(self)
