"""The way in over WebSocket: an adapter that translates, calls the decision core, and translates back."""

import asyncio
import logging
from functools import partial
from time import time
from typing import Any

from channels.consumer import AsyncConsumer

from routing.connection_places import PlacesTaken
from routing.envelope import error_response
from routing.live import owner_of
from routing.pipeline.decide import decide
from routing.pipeline.errors import (
    ClientLeft,
    Draining,
    GatewayError,
    TooManyConnections,
    UpstreamFailure,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from routing.pipeline.exchange import Exchange
from routing.pipeline.hygiene import read_scope, start_exchange
from routing.relay import close_codes
from routing.relay.asgi_leg import AsgiLeg, Receive, Send
from routing.relay.handshake import Handshake, UpstreamAnswer, upgrade_request, wait_for_answer
from routing.relay.pump import Relay, ending_of
from routing.runtime import Runtime, current_runtime
from routing.snapshot import CompiledRoute, CompiledTarget
from routing.upstream.connection import Response
from routing.upstream.response_head import response_head

logger = logging.getLogger("gatehouse.relay")

Scope = dict[str, Any]
# Where our own server offers the connection itself instead of events about it.
LEG_EXTENSION = "gatehouse.leg"
# Written by the ASGI server for its own leg.
_HANDSHAKE_FIELDS = frozenset(
    {b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions"}
)


class RelayConsumer(AsyncConsumer):  # type: ignore[misc]
    """Relay a WebSocket to the service its route names.

    A Channels consumer with a life of its own: `__call__` joins the two connections itself, as a dispatch
    for each message costs more than the message.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket; every way out leaves its records."""
        runtime = current_runtime()
        exchange = start_exchange(scope)
        try:
            await receive()  # websocket.connect
            route = await self.initial_exchange(runtime, exchange, scope)
            await self.relay(runtime, exchange, route, scope, receive, send)
        except GatewayError as error:
            await self.refuse(runtime, exchange, error, scope, send)
        except asyncio.CancelledError:
            exchange.abort, exchange.status = exchange.abort or "client_left", ClientLeft.status
            runtime.recorder.record(exchange, ClientLeft("the connection ended before its answer"))
            raise
        except Exception as error:
            # The outermost edge: the client learns nothing but the request id.
            logger.exception("relay failed", extra={"request_id": exchange.request_id})
            await self.refuse(runtime, exchange, GatewayError(type(error).__name__), scope, send)

    async def initial_exchange(self, runtime: Runtime, exchange: Exchange, scope: Scope) -> CompiledRoute:
        """Steps 1 to 7: hygiene and the decision. Raises a Refusal."""
        read_scope(exchange, scope, runtime.hygiene)
        if runtime.live.draining:
            raise Draining("the gateway is stopping")
        route = await decide(runtime, exchange, time())
        return route

    async def take_place(self, runtime: Runtime, relay: Relay) -> None:
        """Count one more of this principal's, here and on all workers. Raises TooManyConnections."""
        exchange, route = relay.exchange, relay.route
        limit = route.websocket_options.max_connections
        if limit is None:
            return
        try:
            # It is among them itself by now.
            if runtime.live.count(exchange, route) > limit:
                raise PlacesTaken
            relay.place = await runtime.places.take(owner_of(exchange, route), limit)
        except PlacesTaken:
            exchange.rule = "refusal:too_many_connections"
            raise TooManyConnections(f"{limit} are open already", {"limit": limit}) from None

    async def relay(
        self,
        runtime: Runtime,
        exchange: Exchange,
        route: CompiledRoute,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Connect the upstream, accept the client, join the two. Raises UpstreamFailure or ClientLeft.

        On our own server this returns then: the connection lives on in its callbacks, without a task.
        """
        relay = Relay(exchange, route)
        # Counted from here: connections that are being opened at the same time see each other.
        runtime.live.add(relay)
        started = False
        call = (scope.get("extensions") or {}).get(LEG_EXTENSION)
        try:
            if call is not None:
                # Nobody would be there to take the answer that the service is still thinking about.
                call.on_left = asyncio.current_task().cancel  # type: ignore[union-attr]
            await self.take_place(runtime, relay)
            answer = await self.connect(runtime, exchange, route, scope)
            if answer.status != 101:
                await self.pass_refusal(runtime, exchange, route, answer, scope, send)
                return
            relay.upstream.attach(answer.transport)
            limit = route.websocket_options.max_message_bytes
            acceptance = self._accept(exchange, route, answer)
            early, foreign = b"", None
            if call is not None:
                client, early = call.accept_leg(acceptance, relay, limit)
            else:
                await send(acceptance)
                client = foreign = AsgiLeg(relay, receive, send, limit)
            exchange.status = 101
            runtime.recorder.record_connected(exchange)
            started = True
            relay.start(client, early, answer.tail, partial(_ended, runtime))
            if foreign is not None:
                await foreign.run()
        except BaseException:
            relay.abandon()
            raise
        finally:
            if not started:
                _forget(runtime, relay)
                relay.abandon()

    async def connect(
        self, runtime: Runtime, exchange: Exchange, route: CompiledRoute, scope: Scope
    ) -> UpstreamAnswer:
        """Ask targets in turn until one answers. Raises UpstreamFailure."""
        service = route.service
        failure: UpstreamFailure = UpstreamUnreachable(f"service {service.name} has no target")
        for target in runtime.forwarder.balancer.order(service)[: service.retries + 1]:
            exchange.target = target.url
            try:
                return await self._ask(runtime, exchange, route, target, scope)
            except (UpstreamUnreachable, UpstreamTimeout) as error:
                failure = error
        raise failure

    async def _ask(
        self,
        runtime: Runtime,
        exchange: Exchange,
        route: CompiledRoute,
        target: CompiledTarget,
        scope: Scope,
    ) -> UpstreamAnswer:
        request, key = upgrade_request(exchange, route, target)
        offered = frozenset(scope.get("subprotocols") or ())
        pool = runtime.forwarder.pools.of(target.address)
        handshake = await pool.dial(lambda: Handshake(request, key, offered), route.service.connect_timeout)
        return await wait_for_answer(handshake, route.service.response_timeout)

    def _accept(self, exchange: Exchange, route: CompiledRoute, answer: UpstreamAnswer) -> dict[str, Any]:
        head = response_head(exchange, route, _as_response(answer), None)
        headers = [field for field in head["headers"] if field[0] not in _HANDSHAKE_FIELDS]
        return {"type": "websocket.accept", "subprotocol": answer.subprotocol, "headers": headers}

    # --- refusals ------------------------------------------------------------------------
    async def pass_refusal(
        self,
        runtime: Runtime,
        exchange: Exchange,
        route: CompiledRoute,
        answer: UpstreamAnswer,
        scope: Scope,
        send: Send,
    ) -> None:
        """The upstream's own answer, status and body, instead of an upgrade."""
        start = response_head(exchange, route, _as_response(answer), len(answer.body))
        exchange.status = answer.status
        exchange.bytes_out = len(answer.body)
        runtime.recorder.record(exchange)
        code = 4000 + answer.status if 400 <= answer.status < 600 else close_codes.BAD_GATEWAY
        await _answer(scope, send, start, answer.body, code, "refused by the service")

    async def refuse(
        self, runtime: Runtime, exchange: Exchange, error: GatewayError, scope: Scope, send: Send
    ) -> None:
        """Answer with the envelope before the upgrade; after it, with a close code."""
        if exchange.status:
            await send({"type": "websocket.close", "code": close_codes.INTERNAL_ERROR})
            return
        exchange.status = error.status
        start, body = error_response(exchange, error)
        exchange.bytes_out = len(body)
        runtime.recorder.record(exchange, error)
        await _answer(scope, send, start, body, close_codes.close_code_of(error), error.code)


async def _answer(
    scope: Scope, send: Send, start: dict[str, Any], body: bytes, code: int, reason: str
) -> None:
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await send({**start, "type": "websocket.http.response.start"})
        await send({"type": "websocket.http.response.body", "body": body})
        return
    # A close before the acceptance would reach the client as a bare 403, whatever the reason.
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": reason})


def _as_response(answer: UpstreamAnswer) -> Response:
    return Response(answer.status, answer.headers)


def _ended(runtime: Runtime, relay: Relay) -> None:
    _forget(runtime, relay)
    runtime.recorder.record_disconnected(relay.exchange, ending_of(relay))


def _forget(runtime: Runtime, relay: Relay) -> None:
    runtime.live.discard(relay)
    if relay.place is not None:
        runtime.places.give_back(relay.place)
        relay.place = None
