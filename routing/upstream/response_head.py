"""Write the response's head for the client: what of the upstream's fields passes, and what is added."""

from typing import Any

from routing.downstream.response_writer import date_line
from routing.pipeline.cors import mark_response
from routing.pipeline.exchange import Exchange
from routing.snapshot import CompiledRoute
from routing.upstream.connection import Response

_HARMLESS_CONNECTION = (b"", b"close", b"keep-alive", b"Close", b"Keep-Alive")
# The admin's own cookies: an upstream on the same host must not be able to set them.
_OWN_COOKIE = (b"gatehouse_",)
_WITHOUT_LENGTH = frozenset({204})
_BODILESS = frozenset({204, 304})


def response_head(
    exchange: Exchange, route: CompiledRoute, response: Response, body_length: int | None
) -> dict[str, Any]:
    """Return the ASGI message. `body_length` is None while the body is still coming."""
    drop = _dropped(route, response)
    headers = [
        (b"x-request-id", exchange.request_id.encode()),
        (b"x-trace-id", exchange.trace_id.encode()),
        *route.response_set,
    ]
    for field in response.headers:
        name = field[0]
        if name in drop or (name == b"set-cookie" and field[1].lstrip().startswith(_OWN_COOKIE)):
            continue
        headers.append(field)
    if exchange.cors_origin is not None:
        headers = mark_response(headers, exchange.cors_origin)
    length = _length(exchange, response, body_length)
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": response.status, "headers": headers}


def response_lines(exchange: Exchange, route: CompiledRoute, response: Response) -> list[bytes] | None:
    """The same as lines of a whole response, without its framing; None where `response_head` is needed."""
    if exchange.cors_origin is not None or exchange.method == "HEAD" or response.status in _BODILESS:
        return None
    drop = _dropped(route, response)
    lines = [
        f"x-request-id: {exchange.request_id}".encode(),
        f"x-trace-id: {exchange.trace_id}".encode(),
        *route.response_lines,
    ]
    dated = False
    for name, value in response.headers:
        if name in drop or (name == b"set-cookie" and value.lstrip().startswith(_OWN_COOKIE)):
            continue
        if name == b"date":
            dated = True
        lines.append(name + b": " + value)
    if not dated:
        lines.append(date_line())
    return lines


def _dropped(route: CompiledRoute, response: Response) -> frozenset[bytes]:
    if response.connection in _HARMLESS_CONNECTION:
        return route.response_drop
    # RFC 9110 7.6.1: fields named in Connection are hop-by-hop too.
    return route.response_drop | {token.strip().lower() for token in response.connection.split(b",")}


def _length(exchange: Exchange, response: Response, body_length: int | None) -> int | None:
    if response.status in _WITHOUT_LENGTH:
        return None
    if exchange.method == "HEAD" or response.status == 304:
        # RFC 9110 8.6: what a GET would have had.
        return response.content_length
    return response.content_length if body_length is None else body_length
