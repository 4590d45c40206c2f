"""Read HTTP/1.1 requests off a connection's bytes, and say what is wrong with those that are none.

The parser is llhttp in its strict mode, through httptools: what two parsers could read in two ways is
refused, with a name and a record, by the decision core's hygiene (the scope then says `problem`).
"""

import asyncio
from abc import abstractmethod
from typing import Any

import httptools

from routing.downstream.call import Call
from routing.downstream.request_target import split_target
from routing.downstream.websocket import WebSocketCall, is_websocket
from routing.pipeline.errors import (
    BadFraming,
    BadMethod,
    BadRequest,
    BadTarget,
    GatewayError,
    HeadersTooLarge,
)
from routing.pipeline.hygiene import HeaderMemo

# A head that doesn't end within this is not read to its end; what is allowed is far less (hygiene).
MAXIMUM_HEAD_BYTES = 131_072
# Framing (chunk sizes, extensions, trailers) that may come without a byte of body between it.
MAXIMUM_FRAMING_BYTES = 16_384


class RequestReader(asyncio.Protocol):
    """The parsing half of a client's connection; the other half says what becomes of a call."""

    # Defaults stand on the class: a connection pays only for what it sets.
    closed = False
    _reading: Call | None = None  # the request whose body is coming
    _in_head = True
    _begun = False  # something of the next request has come
    _head_bytes = 0
    _expects_continue = False
    _framing_bytes = 0
    _refused = False
    _ends_here = False  # behind an upgrade that this connection doesn't outlive
    _upgrading: WebSocketCall | None = None  # and from then on no more HTTP is read
    _foreign_method: bytes | None = None  # of a request that is refused for it
    _foreign_method_refused = False
    _client: tuple[str, int] | None = None

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        # The fields of the request before, and what the decision core made of them.
        self._remembered: list[tuple[bytes, bytes]] | None = None
        self._memo = HeaderMemo()

    # --- the other half ------------------------------------------------------------------
    @abstractmethod
    def _enqueue(self, call: Call) -> None:
        """A request's head has been read."""

    @abstractmethod
    def _check_pipeline(self) -> None:
        """Another request begins. Raises BadFraming when too many wait already."""

    @abstractmethod
    def _is_answering(self, call: Call) -> bool:
        """Whether somebody may be waiting for more of this request."""

    # --- bytes ---------------------------------------------------------------------------
    def _read(self, data: bytes) -> None:
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

    def _refuse(self, problem: GatewayError, data: bytes) -> None:
        """Nothing after this point can be told from the wrong bytes: answer, read no more, close."""
        if self._refused:
            return
        self._refused = True
        reading, self._reading = self._reading, None
        if self._foreign_method_refused:
            return  # it has its refusal
        if reading is not None and not reading.body_complete:
            reading.problem = problem.reason or problem.message
            reading.keep_alive = False
            reading.wake()
            return
        if not self._begun:
            # Not a byte of it was taken for a request: what is left here is the one before's.
            self._url, self._headers = b"", []
        method = self._foreign_method or b""
        if self._url and not method:
            method = self._parser.get_method()
        elif self._head_bytes == len(data) and not method:
            word, space, _ = data[:40].lstrip(b"\r\n").partition(b" ")
            # Without the space behind it, it may be the half of another word that has come so far.
            method = word if space else b""
        call = Call(self, self._scope(method, self._url))
        call.scope["problem"] = problem
        call.head_only = method == b"HEAD"
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
        if self._ends_here:
            self._refused = True
            return
        self._parser = httptools.HttpRequestParser(self)
        if rest and not self.closed:
            self._read(rest)

    # --- httptools callbacks -------------------------------------------------------------
    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._in_head = self._begun = True
        self._expects_continue = False
        self._check_pipeline()

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
            if self._foreign_method_refused:
                return  # one request for one method: what follows it is not read
            self._foreign_method_refused = True
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
            if parser.should_upgrade():
                problem = problem or self._ignore_upgrade(call, method)
        if version != "1.1":
            problem = problem or self._older(call, version)
        if problem is not None:
            call.scope["problem"] = problem
            call.keep_alive = False
        elif not parser.should_keep_alive():
            call.keep_alive = False
        self._ends_here = not call.keep_alive
        if self._expects_continue:
            call.expects_continue = not call.old
        self._in_head = False
        self._head_bytes = self._framing_bytes = 0
        self._reading = call
        self._enqueue(call)

    def _ignore_upgrade(self, call: Call, method: bytes) -> GatewayError | None:
        """The parser takes the request to end with its head: a body behind it would be read as a request."""
        if method == b"CONNECT":
            call.keep_alive = False
        if any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self._headers
        ):
            return BadFraming("an upgrade with a body")
        return None

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
        self._begun = False
        self._head_bytes = 0
        if call is not None:
            call.body_complete = True
            if self._is_answering(call):
                call.wake()


def _problem_of(error: httptools.HttpParserError) -> GatewayError:
    """The parser's verdict as a refusal; its words are about the form alone and quote nothing."""
    if isinstance(error, httptools.HttpParserInvalidURLError):
        return BadTarget(str(error))
    return BadFraming(str(error))
