"""Decide whether a page of this origin may open a WebSocket. Pure: no I/O.

A browser sends cookies along with a WebSocket to any host and no CORS stands in the way: without this
check any page could speak in its visitor's name (cross-site WebSocket hijacking).
"""

from typing import TYPE_CHECKING

from routing.pipeline.errors import OriginNotAllowed
from routing.pipeline.exchange import Exchange

if TYPE_CHECKING:
    from routing.snapshot import CompiledRoute

_DEFAULT_PORTS = {"http": "80", "https": "443"}


def check_origin(exchange: Exchange, route: "CompiledRoute") -> None:
    """Raises OriginNotAllowed. A client that sends no Origin is no browser and passes."""
    if exchange.origin is None:
        return
    allowed = route.websocket_options.allowed_origins
    origin = exchange.origin.decode("latin-1").lower()
    if origin in allowed or "*" in allowed or (not allowed and _is_same_host(origin, exchange.host)):
        exchange.note("origin", "pass", "%s may open a WebSocket", origin)
        return
    exchange.note("origin", "refuse", "%s is not one of the route's origins", origin)
    raise OriginNotAllowed(f"origin {origin[:200]!r}")


def _is_same_host(origin: str, host: str) -> bool:
    scheme, separator, authority = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if not separator or port is None:
        return False
    return _with_port(authority, port) == _with_port(host, port)


def _with_port(authority: str, port: str) -> str:
    has_port = ":" in authority.rpartition("]")[2]
    return authority if has_port else f"{authority}:{port}"
