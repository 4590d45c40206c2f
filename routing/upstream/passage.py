"""One request under way between a client and an upstream, byte by byte, in both directions.

Retries follow RFC 9110 9.2.2 and RFC 9112 9.3.1: another target may be tried while nothing has been
sent; a pooled connection that turns out stale is replaced once, for a request that may be repeated.
Whatever ends badly closes the upstream socket; only a clean exchange goes back to the pool.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from routing.live import LiveTransfer
from routing.pipeline.errors import (
    BadFraming,
    BodyTooLarge,
    ClientLeft,
    ClientTimeout,
    GatewayError,
    Refusal,
    UpstreamFailure,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from routing.pipeline.exchange import Exchange
from routing.snapshot import CompiledRoute, CompiledTarget
from routing.upstream.connection import Response, UpstreamConnection
from routing.upstream.pool import ConnectionPool
from routing.upstream.request_head import request_head
from routing.upstream.response_head import response_head

if TYPE_CHECKING:
    from routing.upstream.forward import Forwarder

logger = logging.getLogger("gatehouse.forward")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Finish = Callable[[Exchange], None]

# Methods that may be sent twice with the effect of once (RFC 9110 9.2.2).
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# A response that is not there by then makes it worth a task to notice that the client leaves.
WATCH_AFTER_SECONDS = 0.1
# From this age on a request is asked again and again whether it would still be let through.
LIVE_AFTER_SECONDS = 1.0


class Passage:
    """One request under way between a client and an upstream connection."""

    # Defaults stand on the class: a request pays only for what it sets.
    _connection: UpstreamConnection | None = None
    _pool: ConnectionPool | None = None
    _pump: "asyncio.Task[None] | None" = None
    _watch: "asyncio.Task[None] | None" = None
    _task: "asyncio.Task[Any] | None" = None
    _client_left = False
    _body_is_read = False
    _sending_since = 0.0
    _endless = False
    _live: "LiveTransfer | None" = None
    # Whether the client's leaving is told, or has to be watched for.
    _is_told = False

    def __init__(
        self,
        forwarder: "Forwarder",
        exchange: Exchange,
        route: CompiledRoute,
        receive: Receive,
        send: Send,
        finish: Finish,
    ) -> None:
        self._forwarder = forwarder
        self.exchange = exchange
        self._route = route
        self._receive = receive
        self._send = send
        self._finish = finish
        self._started = monotonic()

    async def run(self) -> None:
        """The whole way; a short response over a pooled connection takes one await up and two down."""
        exchange = self.exchange
        body, more = b"", False
        if exchange.content_length or exchange.chunked:
            body, more = await self._first_of_body()
        self._body_is_read = not more
        self._started = monotonic()
        await self._pass_on(await self._response(body, more))

    async def _pass_on(self, response: Response) -> None:
        exchange = self.exchange
        exchange.upstream_seconds = monotonic() - self._started
        connection = self._connection
        assert connection is not None
        if not connection.complete:
            await self._stream(connection, response)
            return
        body = connection.take()
        start = response_head(exchange, self._route, response, len(body))
        exchange.status = response.status
        exchange.bytes_out = len(body)
        self._let_go(keep=True)
        try:
            self._finish(exchange)
            if self._forwarder.settle is not None:
                await self._forwarder.settle()
        except GatewayError:
            # Nothing has been sent yet: the client can be told.
            exchange.status = 0
            raise
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    # --- towards the upstream ------------------------------------------------------------
    async def _first_of_body(self) -> tuple[bytes, bool]:
        exchange = self.exchange
        message = await self._receive_body_part()
        body: bytes = message.get("body", b"")
        more = bool(message.get("more_body", False))
        self._count(len(body))
        if not more and exchange.chunked:
            # It is all here: the upstream gets an exact length.
            exchange.chunked, exchange.content_length = False, len(body)
        return body, more

    async def _receive_body_part(self) -> dict[str, Any]:
        """Raises ClientLeft, ClientTimeout when nothing comes within the idle time, or BadFraming."""
        try:
            async with asyncio.timeout(self._route.service.idle_timeout):
                message = await self._receive()
        except TimeoutError as error:
            raise ClientTimeout("the body stopped coming") from error
        if message["type"] == "http.disconnect":
            if problem := message.get("problem"):
                raise BadFraming(problem)
            raise ClientLeft("while sending the body")
        return message

    def _count(self, size: int) -> None:
        exchange = self.exchange
        exchange.bytes_in += size
        if exchange.bytes_in > self._route.max_body_bytes:
            limit = self._route.max_body_bytes
            raise BodyTooLarge(f"more than {limit} bytes while streaming", {"limit": limit})

    async def _response(self, body: bytes, more: bool, fresh: bool = False) -> Response:
        """Try targets in turn until one has begun to answer; `fresh`: over new connections only."""
        service = self._route.service
        repeatable = not more and self.exchange.method in IDEMPOTENT
        failure: UpstreamFailure | None = None
        targets = service.targets
        for target in targets if len(targets) == 1 else self._forwarder.balancer.order(service):
            pool = self._forwarder.pools.of(target.address)
            connection = None if fresh else pool.take_idle(repeatable)
            reused = connection is not None
            try:
                if connection is None:
                    connection = await self._open(pool, target)
                self._begin(connection, pool, target, body, more)
                return await connection.response()
            except _NothingSent as nothing_sent:
                failure = nothing_sent.failure
            except UpstreamUnreachable as unreachable:
                assert connection is not None
                if connection.received_anything or not repeatable:
                    raise
                self._let_go(keep=False)
                failure = unreachable
                if reused:
                    try:
                        return await self._ask_again(pool, target, body)
                    except _NothingSent as nothing_sent:
                        failure = nothing_sent.failure
        raise failure or UpstreamUnreachable(f"service {service.name} has no target")

    async def _open(self, pool: ConnectionPool, target: CompiledTarget) -> UpstreamConnection:
        """Raises _NothingSent when this target can't be connected to, ClientLeft when nobody waits."""
        self.exchange.target = target.url
        try:
            connection = await pool.open(self._route.service.connect_timeout)
        except (UpstreamUnreachable, UpstreamTimeout) as failure:
            raise _NothingSent(failure) from failure
        if self._client_left:
            pool.release(connection)
            raise ClientLeft("while connecting")
        return connection

    async def _ask_again(self, pool: ConnectionPool, target: CompiledTarget, body: bytes) -> Response:
        """RFC 9112 9.3.1: the connection had gone stale in the pool; once more on a new one."""
        connection = await self._open(pool, target)
        self._begin(connection, pool, target, body, more=False)
        return await connection.response()

    def _begin(
        self,
        connection: UpstreamConnection,
        pool: ConnectionPool,
        target: CompiledTarget,
        body: bytes,
        more: bool,
    ) -> None:
        self._connection, self._pool = connection, pool
        exchange, service = self.exchange, self._route.service
        exchange.target = target.url
        head = request_head(exchange, self._route, target)
        if body:
            head += _framed(body, exchange.chunked)
        connection.start(exchange.method, head, service.response_timeout, service.idle_timeout)
        if more:
            self._pump = asyncio.ensure_future(self._pump_body(connection))

    async def _pump_body(self, connection: UpstreamConnection) -> None:
        """Carry the rest of the body up while the response may already be coming down."""
        try:
            await self._pump_parts(connection)
        except GatewayError as failure:
            connection.fail(failure)
        except Exception as error:
            # A task's outermost edge: a fault that nobody saw would leave the request waiting for ever.
            logger.exception("body can't be carried", extra={"request_id": self.exchange.request_id})
            connection.fail(GatewayError(type(error).__name__))

    async def _pump_parts(self, connection: UpstreamConnection) -> None:
        exchange = self.exchange
        more = True
        while more:
            await connection.drain()
            connection.await_client()
            message = await self._receive_body_part()
            part: bytes = message.get("body", b"")
            more = bool(message.get("more_body", False))
            if part:
                self._count(len(part))
                connection.write(_framed(part, exchange.chunked))
        self._body_is_read = True
        if exchange.chunked:
            connection.write(b"0\r\n\r\n")
        connection.expect_response_within(self._route.service.response_timeout)

    # --- towards the client --------------------------------------------------------------
    async def _stream(self, connection: UpstreamConnection, response: Response) -> None:
        """Pass the body on part by part, as it comes; the client's pace is the upstream's pace."""
        exchange = self.exchange
        self._task = asyncio.current_task()
        self._endless = any(
            name == b"content-type" and value.startswith(b"text/event-stream")
            for name, value in response.headers
        )
        start = response_head(exchange, self._route, response, None)
        exchange.status = response.status
        await self._send_part(start)
        # Even an empty part makes the server send the head at once: a client may wait for it alone.
        data = connection.take()
        exchange.bytes_out += len(data)
        await self._send_part({"type": "http.response.body", "body": data, "more_body": True})
        while data := await connection.read():
            exchange.bytes_out += len(data)
            await self._send_part({"type": "http.response.body", "body": data, "more_body": True})
        self._let_go(keep=True)
        self._finish(exchange)
        if self._forwarder.settle is not None:
            await self._forwarder.settle()
        await self._send({"type": "http.response.body", "body": b""})

    async def _send_part(self, message: dict[str, Any]) -> None:
        self._sending_since = monotonic()
        try:
            await self._send(message)
        finally:
            self._sending_since = 0.0

    # --- looking after -------------------------------------------------------------------
    def look_after(self, now: float) -> None:
        """Start to watch for the client leaving; end a client that has stopped reading."""
        # Not while the body is still to come: the watch would take parts of it.
        if (
            self._watch is None
            and not self._is_told
            and self._body_is_read
            and now - self._started > WATCH_AFTER_SECONDS
        ):
            self._watch = asyncio.ensure_future(self._watch_client())
        live = self._forwarder.live
        if live is not None and self._live is None and now - self._started > LIVE_AFTER_SECONDS:
            self._live = LiveTransfer(self.exchange, self._route, self.break_off)
            live.add(self._live)
        stalled = self._sending_since and now - self._sending_since > self._route.service.idle_timeout
        if stalled and self._task is not None:
            self._sending_since = 0.0
            self.exchange.abort = "client_stalled"
            self._task.cancel()

    def break_off(self, refusal: Refusal, endless_only: bool) -> None:
        """End what would be refused by now; of what merely has to end some time, only what never would."""
        if endless_only and not self._endless:
            return
        self.exchange.abort = refusal.code
        if self._sending_since and self._task is not None:
            self._task.cancel()
        elif self._connection is not None:
            self._connection.fail(refusal)

    def _client_has_left(self) -> None:
        self._client_left = True
        if self._connection is not None:
            self._connection.fail(ClientLeft("while waiting for the response"))

    async def _watch_client(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                break
        self._client_has_left()

    def _let_go(self, keep: bool) -> None:
        connection, pool = self._connection, self._pool
        self._connection = None
        if connection is None or pool is None:
            return
        body_was_sent = self._pump is None or self._pump.done()
        pool.release(connection, keep=keep and body_was_sent)

    @property
    def unfinished(self) -> bool:
        """Whether `close` has anything to do."""
        return (
            self._connection is not None
            or self._watch is not None
            or self._pump is not None
            or self._live is not None
        )

    def close(self) -> None:
        """End whatever is still under way; a connection not let go by now is closed."""
        self._let_go(keep=False)
        if self._live is not None and self._forwarder.live is not None:
            self._forwarder.live.discard(self._live)
        for task in (self._pump, self._watch):
            if task is not None and not task.done():
                task.cancel()


class _NothingSent(Exception):
    """This target was not reached: the next may be tried, whatever the method."""

    def __init__(self, failure: UpstreamFailure) -> None:
        self.failure = failure


def _framed(data: bytes, chunked: bool) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if chunked else data
