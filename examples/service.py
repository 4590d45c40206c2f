"""Assemble an example service: its routes, GET /health, JSON errors, and the request id echoed back."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from examples.errors import ServiceError, answer_crash, answer_http_error, answer_service_error

MAX_BODY_BYTES = 1024 * 1024


class EchoRequestId:
    """Put the caller's X-Request-ID on the response, so that a hop can be matched to its request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id = Request(scope).headers.get("x-request-id")

        async def send_with_id(message: Message) -> None:
            if request_id is not None and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


async def health(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def build_service(routes: Sequence[BaseRoute], lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """Return the ASGI application for these routes."""
    app = Starlette(
        routes=[Route("/health", health), *routes],
        middleware=[Middleware(EchoRequestId)],
        exception_handlers={
            ServiceError: answer_service_error,
            HTTPException: answer_http_error,
            Exception: answer_crash,
        },
        lifespan=lifespan,
        max_body_size=MAX_BODY_BYTES,
    )
    # A redirect to add or drop a slash would name this service's own address, private behind a gateway.
    app.router.redirect_slashes = False
    return app
