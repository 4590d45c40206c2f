"""The one shape of every error: {"error": {"code", "message", "request_id", "details"}}."""

from typing import Any

import orjson

from routing.pipeline.cors import mark_response, preflight_headers
from routing.pipeline.errors import GatewayError
from routing.pipeline.exchange import Exchange
from routing.pipeline.headers import SECURITY_HEADERS

_PLAIN = ((b"content-type", b"application/json"), (b"server", b"gatehouse"))


def error_body(code: str, message: str, request_id: str, details: Any = None) -> bytes:
    envelope = {"code": code, "message": message, "request_id": request_id, "details": details or {}}
    return orjson.dumps({"error": envelope})


def error_response(exchange: Exchange, error: GatewayError) -> tuple[dict[str, Any], bytes]:
    """The ASGI start message and the body that answer an exchange with an error."""
    body = error_body(error.code, error.message, exchange.request_id, dict(error.details))
    headers = [
        (b"x-request-id", exchange.request_id.encode()),
        (b"x-trace-id", exchange.trace_id.encode()),
        (b"content-length", b"%d" % len(body)),
        *_PLAIN,
        *SECURITY_HEADERS,
        *error.headers,
    ]
    if exchange.cors_origin is not None:
        headers = mark_response(headers, exchange.cors_origin)
    if exchange.method == "HEAD":
        body = b""
    return {"type": "http.response.start", "status": error.status, "headers": headers}, body


def preflight_response(exchange: Exchange) -> dict[str, Any]:
    """The ASGI start message that answers a CORS preflight from an allowed origin."""
    assert exchange.cors_origin is not None
    headers = [
        (b"x-request-id", exchange.request_id.encode()),
        (b"x-trace-id", exchange.trace_id.encode()),
        *SECURITY_HEADERS,
        *preflight_headers(exchange, exchange.cors_origin),
    ]
    return {"type": "http.response.start", "status": 204, "headers": headers}
