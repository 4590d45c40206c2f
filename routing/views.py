"""The ways in over HTTP: adapters that translate, call the decision core, and translate back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from rest_framework.views import APIView

from accounts.identity import CredentialNotLoaded, TicketNotRedeemed
from routing.downstream.call import Call
from routing.envelope import error_response, preflight_response
from routing.pipeline.decide import decide, decide_in_memory
from routing.pipeline.errors import AuditUnavailable, BadFraming, ClientLeft, GatewayError, UpstreamAborted
from routing.pipeline.exchange import Exchange
from routing.pipeline.hygiene import read_scope, start_exchange
from routing.runtime import Runtime, current_runtime
from routing.upstream.direct_passage import DirectPassage

logger = logging.getLogger("gatehouse.proxy")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
ASGIApplication = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class TransferBroken(Exception):
    """Ends the application in mid-response, so that the server breaks the connection off."""

    deliberate = True  # recorded already: nothing for the server to report


class ProxyView(APIView):  # type: ignore[misc]  # DRF carries no types
    """Proxy a request to the service its route names.

    An APIView with an async life of its own: it keeps DRF's names for the steps, but is served
    straight from the ASGI scope (`as_asgi`), as Django's handler would read the whole body first.
    """

    @classmethod
    def as_asgi(cls) -> ASGIApplication:
        """An ASGI application, in the way that `as_view` gives a WSGI-style view."""
        # One view for all requests: what belongs to a request is in its exchange.
        return cls().serve

    def serve_call(self, call: Call) -> None:
        """Answer a request of our own server: without a task when memory and a pooled connection suffice.

        The steps are `serve`'s. What would have to wait is begun again there, as nothing has been done yet.
        """
        runtime = current_runtime()
        scope = call.scope
        exchange = start_exchange(scope)
        try:
            read_scope(exchange, scope, runtime.hygiene)
            route = decide_in_memory(runtime, exchange, exchange.started_at)
            recorder = runtime.recorder
            if recorder.settle is None and not exchange.preflight and call.body_complete:
                recorder.check_room()
                if runtime.forwarder.forward_at_once(exchange, route, call, self.carry_on, recorder.record):
                    return
        except (CredentialNotLoaded, TicketNotRedeemed):
            pass
        except GatewayError as error:
            if runtime.recorder.settle is None:
                self.refuse_at_once(runtime, exchange, error, call)
                return
        except Exception as error:
            # The outermost edge: the client learns nothing but the request id.
            logger.exception("request failed", extra={"request_id": exchange.request_id})
            self.refuse_at_once(runtime, exchange, GatewayError(type(error).__name__), call)
            return
        call.run(self.serve)

    def refuse_at_once(self, runtime: Runtime, exchange: Exchange, error: GatewayError, call: Call) -> None:
        """What `handle_refusal` does, for a request that nothing has been answered to."""
        exchange.status = error.status
        start, body = error_response(exchange, error)
        exchange.bytes_out = len(body)
        try:
            runtime.recorder.record(exchange, error)
        except AuditUnavailable as unrecorded:
            start, body = error_response(exchange, unrecorded)
        call.respond(start, body)

    def carry_on(self, passage: DirectPassage, call: Call) -> None:
        """A response that needs a task after all: it streams, or the upstream has failed."""
        call.run_task(self._guard(current_runtime(), passage.exchange, call.send, passage.carry_on()))

    async def serve(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request; every way out passes `record` exactly once."""
        runtime = current_runtime()
        exchange = start_exchange(scope)
        await self._guard(runtime, exchange, send, self._answer(runtime, exchange, scope, receive, send))

    async def _answer(
        self, runtime: Runtime, exchange: Exchange, scope: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        # Steps 1 to 7: hygiene and the decision.
        read_scope(exchange, scope, runtime.hygiene)
        route = await decide(runtime, exchange, exchange.started_at)
        if exchange.preflight:
            await self.answer_preflight(runtime, exchange, send)
            return
        runtime.recorder.check_room()
        await runtime.forwarder.forward(exchange, route, receive, send, runtime.recorder.record)

    async def _guard(
        self, runtime: Runtime, exchange: Exchange, send: Send, work: Coroutine[Any, Any, None]
    ) -> None:
        try:
            await work
        except GatewayError as error:
            await self.handle_refusal(runtime, exchange, error, send)
        except TransferBroken:
            raise
        except asyncio.CancelledError:
            exchange.abort = exchange.abort or "cancelled"
            runtime.recorder.record(exchange, ClientLeft("the server ended the request"))
            raise
        except Exception as error:
            # The outermost edge: the client learns nothing but the request id.
            logger.exception("request failed", extra={"request_id": exchange.request_id})
            await self.handle_refusal(runtime, exchange, GatewayError(type(error).__name__), send)

    async def answer_preflight(self, runtime: Runtime, exchange: Exchange, send: Send) -> None:
        """A browser asks whether it may ask: the gateway answers for the upstream."""
        exchange.status = 204
        runtime.recorder.record(exchange)
        await send(preflight_response(exchange))
        await send({"type": "http.response.body", "body": b""})

    async def handle_refusal(
        self, runtime: Runtime, exchange: Exchange, error: GatewayError, send: Send
    ) -> None:
        """Answer with the envelope, or break the transfer off when a response has begun already."""
        if exchange.status:
            exchange.abort = exchange.abort or _abort_of(error)
            runtime.recorder.record(exchange, error)
            raise TransferBroken(error.reason) from error
        exchange.status = error.status
        if isinstance(error, ClientLeft):
            exchange.abort = "client_left"
            runtime.recorder.record(exchange, error)
            # A body that the server can't parse looks the same from here: then somebody may read this.
            start, body = error_response(exchange, BadFraming(error.reason))
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return
        start, body = error_response(exchange, error)
        exchange.bytes_out = len(body)
        try:
            runtime.recorder.record(exchange, error)
            if runtime.recorder.settle is not None:
                await runtime.recorder.settle()
        except AuditUnavailable as unrecorded:
            start, body = error_response(exchange, unrecorded)
        await send(start)
        await send({"type": "http.response.body", "body": body})


def _abort_of(error: GatewayError) -> str:
    if isinstance(error, UpstreamAborted):
        return "upstream_abort"
    return "client_left" if isinstance(error, ClientLeft) else error.code
