"""Answer CORS preflights and mark responses for the origins that are allowed. Pure: no I/O.

Fetch standard, section 3.2. Credentials mode is never allowed: keys travel in headers, not cookies.
"""

import re

from routing.pipeline.exchange import Exchange

ANY = "*"
MAX_AGE_SECONDS = 600
EXPOSED = (
    b"X-Request-ID, X-Trace-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After"
)
_TOKENS = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*").fullmatch
_CORS_RESPONSE_HEADERS = frozenset(
    {
        b"access-control-allow-origin",
        b"access-control-allow-methods",
        b"access-control-allow-headers",
        b"access-control-allow-credentials",
        b"access-control-expose-headers",
        b"access-control-max-age",
    }
)


def allowed_origin(exchange: Exchange, origins: frozenset[str], any_is_allowed: bool) -> bytes | None:
    """The Origin to echo, or None. `*` counts only where `any_is_allowed` (public routes, development)."""
    origin = exchange.origin
    # Compared with the list alone, a client's own `*` would be found in it.
    if origin is None or not origins or origin == b"*":
        return None
    if origin.decode("latin-1") in origins or (ANY in origins and any_is_allowed):
        return origin
    return None


def asked_method(exchange: Exchange) -> str | None:
    """The method that a preflight asks leave for; None when the request is no preflight."""
    if exchange.method != "OPTIONS" or exchange.origin is None:
        return None
    for name, value in exchange.headers:
        if name == b"access-control-request-method":
            return value.decode("latin-1")
    return None


def preflight_headers(exchange: Exchange, origin: bytes) -> list[tuple[bytes, bytes]]:
    """Say yes to what was asked for; whether the request itself may pass is decided when it comes."""
    headers = [*_origin_headers(origin), (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS)]
    for asked, answered in (
        (b"access-control-request-method", b"access-control-allow-methods"),
        (b"access-control-request-headers", b"access-control-allow-headers"),
    ):
        value = next((value for name, value in exchange.headers if name == asked), b"")
        if _TOKENS(value) is not None:
            headers.append((answered, value))
    return headers


def mark_response(headers: list[tuple[bytes, bytes]], origin: bytes) -> list[tuple[bytes, bytes]]:
    """The response's headers with the gateway's CORS fields in place of the upstream's."""
    kept = [field for field in headers if field[0] not in _CORS_RESPONSE_HEADERS]
    return [*kept, *_origin_headers(origin), (b"access-control-expose-headers", EXPOSED)]


def _origin_headers(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
