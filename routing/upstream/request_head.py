"""Write the request that goes upstream: the framing and every fact in it are the gateway's own."""

from functools import lru_cache

from accounts.identity import Identity
from routing.pipeline.exchange import Exchange
from routing.pipeline.ids import traceparent
from routing.snapshot import CompiledRoute, CompiledTarget


def upstream_target(exchange: Exchange, route: CompiledRoute) -> bytes:
    """The path and query that the upstream sees: the canonical ones, with the route's rewrite applied."""
    path = exchange.path
    if route.prefix_segments is not None:
        path = _rewritten(path, route)
    return path + b"?" + exchange.query if exchange.query else path


def _rewritten(path: bytes, route: CompiledRoute) -> bytes:
    assert route.prefix_segments is not None
    if not route.replacement_takes_rest:
        return route.replacement
    segments = path.split(b"/")[route.prefix_segments + 1 :]
    rest = b"/" + b"/".join(segments) if segments else b""
    return (route.replacement + rest) or b"/"


def request_head(exchange: Exchange, route: CompiledRoute, target: CompiledTarget) -> bytes:
    """Serialise request line and header fields, ending with the empty line (RFC 9112 section 2.1)."""
    lines = [
        exchange.method.encode() + b" " + upstream_target(exchange, route) + b" HTTP/1.1",
        b"host: " + target.authority,
    ]
    append = lines.append
    drop = route.request_drop
    if drop:
        for name, value in exchange.headers:
            if name not in drop:
                append(name + b": " + value)
    else:
        for name, value in exchange.headers:
            append(name + b": " + value)
    for name, value in route.request_set:
        append(name + b": " + value)
    append(_own_fields(exchange, route).encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _own_fields(exchange: Exchange, route: CompiledRoute) -> str:
    fields = (
        f"x-forwarded-for: {exchange.client_ip}\r\n"
        f"x-forwarded-proto: {exchange.scheme}\r\n"
        f"x-forwarded-host: {exchange.host}\r\n"
        f"x-real-ip: {exchange.client_ip}\r\n"
        f"x-request-id: {exchange.request_id}\r\n"
        f"x-trace-id: {exchange.trace_id}\r\n"
        f"traceparent: {traceparent(exchange.trace_id, exchange.span_id)}\r\n"
        "x-internal-service: gatehouse"
    )
    if exchange.chunked:
        fields += "\r\ntransfer-encoding: chunked"
    elif exchange.content_length is not None:
        fields += f"\r\ncontent-length: {exchange.content_length}"
    identity = exchange.identity
    if identity is not None and route.service.identity == "headers":
        fields += _identity_fields(identity)
    return fields


@lru_cache(maxsize=4096)
def _identity_fields(identity: Identity) -> str:
    # Names and roles are letters, digits and . _ @ + - by their validators: no escaping is needed.
    return (
        f"\r\nx-user-id: {identity.principal_id}"
        f"\r\nx-user-name: {identity.name}"
        f"\r\nx-user-kind: {identity.kind}"
        f"\r\nx-user-roles: {','.join(identity.roles)}"
        f"\r\nx-user-permissions: {','.join(sorted(identity.permissions))}"
    )
