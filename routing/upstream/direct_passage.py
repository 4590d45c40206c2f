"""The way of a request that came whole, over a pooled connection: without a task.

The answer is passed on from the upstream connection's own callback if it comes whole; whatever streams
or fails is carried on in a task, by the steps that every other request takes.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from routing.downstream.call import Call
from routing.pipeline.errors import ClientLeft, GatewayError, UpstreamUnreachable
from routing.pipeline.exchange import Exchange
from routing.snapshot import CompiledRoute, CompiledTarget
from routing.upstream.connection import Response, UpstreamConnection
from routing.upstream.passage import IDEMPOTENT, Finish, Passage
from routing.upstream.pool import ConnectionPool
from routing.upstream.request_head import request_head
from routing.upstream.response_head import response_head, response_lines

if TYPE_CHECKING:
    from routing.upstream.forward import Forwarder

logger = logging.getLogger("gatehouse.forward")

# A body of at most this many bytes is waited for this long before it is passed on in parts.
SHORT_BODY_BYTES = 65_536
MOMENT_SECONDS = 0.05

CarryOn = Callable[["DirectPassage", Call], None]


class DirectPassage(Passage):
    """One request under way; `carry_on`, handed in, makes a task of what can't be answered at once."""

    _is_told = True
    _body = b""
    _head = b""
    _failure: GatewayError | None = None
    _head_at = 0.0  # when the head came without all of its short body
    # Lines, or ASGI's start message, and the body.
    _answer: tuple[list[bytes] | None, Any, bytes] = (None, None, b"")

    def __init__(
        self,
        forwarder: "Forwarder",
        exchange: Exchange,
        route: CompiledRoute,
        target: CompiledTarget,
        call: Call,
        carry_on: CarryOn,
        finish: Finish,
    ) -> None:
        super().__init__(forwarder, exchange, route, call.receive, call.send, finish)
        self._target = target
        self._call = call
        self._carry_on = carry_on

    def begin(self, connection: UpstreamConnection, pool: ConnectionPool) -> None:
        """Have the request sent; `_answered` is called when there is something to go on with.

        Raises BodyTooLarge; the connection is still the caller's then.
        """
        call, target = self._call, self._target
        self._body_is_read = True
        exchange = self.exchange
        if exchange.chunked or exchange.content_length:
            self._body = body = call.take_whole_body()
            self._count(len(body))
            exchange.chunked, exchange.content_length = False, len(body)
        exchange.target = target.url
        head = request_head(exchange, self._route, target)
        self._head = head + self._body if self._body else head
        # From here on the connection is this passage's, and nothing can go wrong any more.
        self._connection, self._pool = connection, pool
        call.on_left = self._client_has_left
        self._forwarder.under_way.add(self)
        self._forwarder.send_soon(self)

    def send(self) -> None:
        """Send what `begin` prepared."""
        try:
            self._send_now()
        except Exception as error:
            # The other requests of this turn must not go down with this one.
            logger.exception("request can't be sent", extra={"request_id": self.exchange.request_id})
            self._fail_answer(GatewayError(type(error).__name__))

    def _send_now(self) -> None:
        if self._client_left:
            self._let_go(keep=False)
            self._fail_answer(ClientLeft("before the request was sent"))
            return
        connection, service = self._connection, self._route.service
        assert connection is not None
        connection.start(self.exchange.method, self._head, service.response_timeout, service.idle_timeout)
        connection.on_answer = self._answered
        if connection.closed:
            # Since it was taken out of the pool: as stale as one that closes on the request.
            connection.fail(UpstreamUnreachable("the connection was closed in the pool"))

    def _answered(self) -> None:
        """The connection's callback: nobody else would see a fault in it."""
        try:
            if not self._pass_on_at_once():
                self._carry_on(self, self._call)
        except Exception as error:
            logger.exception("response can't be carried", extra={"request_id": self.exchange.request_id})
            self._fail_answer(GatewayError(type(error).__name__))

    def _pass_on_at_once(self) -> bool:
        """Have the response answered, if it has come whole or is about to."""
        connection = self._connection
        assert connection is not None
        response = connection.answer
        if response is None:
            return False
        if not connection.complete:
            return self._wait_for_rest(connection, response)
        exchange = self.exchange
        exchange.upstream_seconds = monotonic() - self._started
        self._call.on_left = None
        self._forwarder.under_way.discard(self)
        body = connection.take()
        lines = response_lines(exchange, self._route, response)
        exchange.status = response.status
        exchange.bytes_out = len(body)
        self._let_go(keep=True)
        if self.unfinished:
            self.close()
        start = None
        if lines is None:
            start = response_head(exchange, self._route, response, len(body))
        self._answer = (lines, start, body)
        self._forwarder.answer_soon(self)
        return True

    def _wait_for_rest(self, connection: UpstreamConnection, response: Response) -> bool:
        """Many servers send a head and a short body in two packets: the second is a moment away."""
        length = response.content_length
        if length is None or length > SHORT_BODY_BYTES or self._head_at or connection.failed:
            return False
        self._head_at = monotonic()
        connection.wait_for_body(self._answered)
        return True

    def look_after(self, now: float) -> None:
        """What was not a moment away is passed on as it comes."""
        super().look_after(now)
        connection = self._connection
        if connection is not None and self._head_at and now - self._head_at > MOMENT_SECONDS:
            connection.answer_now()

    def record(self) -> bool:
        """Record the answer that is ready; False when it can't go out unrecorded, and another goes instead."""
        try:
            self._finish(self.exchange)
        except GatewayError as failure:
            self._fail_answer(failure)
            return False
        except Exception as error:
            logger.exception("response can't be recorded", extra={"request_id": self.exchange.request_id})
            self._fail_answer(GatewayError(type(error).__name__))
            return False
        return True

    def answer(self) -> None:
        """Send the answer that is ready."""
        lines, start, body = self._answer
        try:
            if lines is not None:
                self._call.respond_lines(self.exchange.status, lines, body)
            else:
                self._call.respond(start, body)
        except Exception as error:
            # The outermost edge, again; nothing has been written yet.
            logger.exception("response can't be sent", extra={"request_id": self.exchange.request_id})
            self._fail_answer(GatewayError(type(error).__name__))

    def _fail_answer(self, failure: GatewayError) -> None:
        self.exchange.status = 0
        self._failure = failure
        self._carry_on(self, self._call)

    async def carry_on(self) -> None:
        """What `begin` began, in a task. Raises as `Forwarder.forward`."""
        try:
            if self._failure is not None:
                raise self._failure
            await self._pass_on(await self._begun_response())
        finally:
            self._forwarder.under_way.discard(self)
            if self.unfinished:
                self.close()

    async def _begun_response(self) -> Response:
        connection = self._connection
        assert connection is not None
        try:
            return await connection.response()
        except UpstreamUnreachable:
            if connection.received_anything or self.exchange.method not in IDEMPOTENT:
                raise
            self._let_go(keep=False)
            # RFC 9112 9.3.1: the connection had gone stale in the pool.
            return await self._response(self._body, more=False, fresh=True)
