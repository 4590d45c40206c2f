"""The front door: tells the control plane's requests from the data plane's.

WebSockets and HTTP under a control-plane prefix go to Django; everything else to the data plane.
The first segment of the path as it was sent decides, so that no encoding of /admin gets there.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")

from django.core.asgi import get_asgi_application

# Its stubs ask for Mappings where ASGI has dicts.
django_application: Any = get_asgi_application()

# Django has to be set up before anything that imports models.
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.urls import re_path

from routing.consumers import RelayConsumer
from routing.downstream.call import Call
from routing.envelope import error_body
from routing.pipeline.headers import SECURITY_HEADERS
from routing.pipeline.ids import new_uuid
from routing.startup import DataPlane
from routing.views import ProxyView

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

CONTROL_PLANE = frozenset(
    {b"admin", b"v1", b"auth", b"static", b"health", b"healthz", b"metrics", b".well-known"}
)
# Answered by every role: whoever watches a data plane asks it, not another process.
HEALTH = frozenset({b"health", b"healthz"})


def control_plane_sockets() -> Any:
    """The admin's own WebSockets: its session, its hosts, its pages."""
    try:
        urlpatterns = import_module("auditlog.consumers").websocket_urlpatterns
    except ModuleNotFoundError:
        urlpatterns = []
    # Last, what leads nowhere: Channels would end the application with a ValueError.
    inner = URLRouter([*urlpatterns, re_path("", NoSuchSocket.as_asgi())])
    return AllowedHostsOriginValidator(AuthMiddlewareStack(inner))


class NoSuchSocket(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.close(4404)


class FrontDoor:
    """The ASGI application that every server runs."""

    def __init__(self, role: str) -> None:
        self._own_prefixes = HEALTH if role == "data" else CONTROL_PLANE
        self._serves_data = role in ("all", "data")
        self._view = ProxyView()
        self._proxy = ProxyView.as_asgi()
        self._relay = RelayConsumer.as_asgi()
        self._control_sockets = control_plane_sockets()
        self._data_plane: DataPlane | None = None
        self._starting: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            if "problem" in scope:
                await self._refuse(scope, receive, send)
                return
            if self._is_own(scope) or not self._serves_data:
                await django_application(scope, receive, send)
                return
            if self._data_plane is None:
                await self._start()
            await self._proxy(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)

    def serve(self, call: Call) -> None:
        """What our own server calls: a proxied request needs neither a task nor all of an ASGI scope."""
        scope = call.scope
        if self._data_plane is None or "problem" in scope or scope["type"] != "http" or self._is_own(scope):
            call.run(self)
        else:
            # Its service's own timeouts are kept by the forwarder.
            call.is_guarded = False
            self._view.serve_call(call)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the server could not read is no plane's request: the data plane names and records it."""
        if self._serves_data:
            if self._data_plane is None:
                await self._start()
            plane = self._proxy if scope["type"] == "http" else self._relay
            await plane(scope, receive, send)
            return
        problem = scope["problem"]
        prefix = "http" if scope["type"] == "http" else "websocket.http"
        body = error_body(problem.code, problem.message, new_uuid(), dict(problem.details))
        headers = [(b"content-type", b"application/json"), *SECURITY_HEADERS]
        await send({"type": f"{prefix}.response.start", "status": problem.status, "headers": headers})
        await send({"type": f"{prefix}.response.body", "body": body})

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "problem" in scope:
            await self._refuse(scope, receive, send)
            return
        if self._is_own(scope) or not self._serves_data:
            await self._control_sockets(scope, receive, send)
            return
        if self._data_plane is None:
            await self._start()
        await self._relay(scope, receive, send)

    async def drain(self, seconds: float) -> bool:
        """End what would never end by itself; whether all of it was gone in time."""
        return self._data_plane is None or await self._data_plane.drain(seconds)

    def _is_own(self, scope: Scope) -> bool:
        raw: bytes = scope.get("raw_path") or b""
        return raw[1:].partition(b"/")[0].partition(b"?")[0] in self._own_prefixes or (
            raw.partition(b"?")[0] == b"/v1/health"
        )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self._serves_data:
                    await self._start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._data_plane is not None:
                    await self._data_plane.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _start(self) -> None:
        """Start the data plane once; servers without a lifespan (daphne) come here with a request."""
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._data_plane is None:
                data_plane = DataPlane()
                await data_plane.start()
                self._data_plane = data_plane


application = FrontDoor(settings.GATEWAY_ROLE)
