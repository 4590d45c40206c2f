"""Every way a request can fail, with its status, stable code and the text a client may read.

GatewayError
├── Refusal                     decided before an upstream was chosen
│   ├── BadRequest          400 bad_request, bad_target, bad_host, bad_header, duplicate_header …
│   │                       426 websocket_version
│   ├── RouteNotFound       404 route_not_found | websocket_not_served
│   ├── MethodNotAllowed    405 method_not_allowed
│   ├── Unauthenticated     401 credential_missing | credential_invalid
│   ├── Forbidden           403 grant_missing | role_missing | scope_missing | origin_not_allowed | route_changed
│   ├── ClientTimeout       408 client_timeout
│   ├── BodyTooLarge        413 body_too_large
│   ├── TooManyConnections  429 too_many_connections
│   ├── HeadersTooLarge     431 headers_too_large
│   └── Unavailable         503 not_ready | route_unavailable | credentials_unavailable | audit_unavailable
│                               | draining
├── UpstreamFailure             nothing of a response was passed on
│   ├── UpstreamUnreachable 502 upstream_unreachable
│   ├── UpstreamInvalid     502 upstream_invalid_response
│   ├── UpstreamBusy        503 upstream_busy
│   └── UpstreamTimeout     504 upstream_timeout
├── UpstreamAborted             the response had begun: the client's transfer is broken off
└── ClientLeft                  nobody is there to answer
`reason` is for the audit record alone and never reaches a client.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class GatewayError(Exception):
    status: ClassVar[int] = 500
    code: str = "internal_error"
    message: str = "Something went wrong in the gateway."

    def __init__(self, reason: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason or self.code)
        self.reason = reason
        self.details: Mapping[str, Any] = details or {}

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return []


class Refusal(GatewayError):
    """The gateway will not pass this request on."""


class BadRequest(Refusal):
    status, code, message = 400, "bad_request", "The request can't be understood."


class BadTarget(BadRequest):
    code, message = "bad_target", "The path or query is not in a form this gateway accepts."


class BadHost(BadRequest):
    code, message = "bad_host", "Exactly one well-formed Host header is needed."


class BadHeader(BadRequest):
    code, message = "bad_header", "A header is not in a form this gateway accepts."


class DuplicateHeader(BadRequest):
    code, message = "duplicate_header", "A header that may stand once was sent more than once."


class BadFraming(BadRequest):
    code, message = "bad_framing", "The length of the body is not given in one clear way."


class BadMethod(BadRequest):
    code, message = "bad_method", "The method is not an upper-case token."


class BadHandshake(BadRequest):
    code, message = "bad_handshake", "The WebSocket handshake is not in order."


class WrongWebSocketVersion(BadRequest):
    status, code, message = 426, "websocket_version", "Version 13 of the WebSocket protocol is spoken here."

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        # RFC 6455 4.2.2: the version that would be taken.
        return [(b"sec-websocket-version", b"13"), (b"upgrade", b"websocket")]


class RouteNotFound(Refusal):
    status, code, message = 404, "route_not_found", "No route leads there."


class WebSocketNotServed(RouteNotFound):
    code, message = "websocket_not_served", "This route serves no WebSockets."


class MethodNotAllowed(Refusal):
    status, code, message = 405, "method_not_allowed", "This method is not served here."

    def __init__(self, allow: tuple[str, ...] = (), reason: str = "") -> None:
        super().__init__(reason, {"allow": list(allow)})
        self.allow = allow

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"allow", ", ".join(self.allow).encode())]


class Unauthenticated(Refusal):
    status = 401

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"www-authenticate", b'Bearer realm="gatehouse"')]


class CredentialMissing(Unauthenticated):
    code, message = (
        "credential_missing",
        "A credential is needed: send an API key as X-API-Key or Bearer token.",
    )


class CredentialInvalid(Unauthenticated):
    """Unknown, wrong, expired, revoked: one answer for all, the reason is in the audit record."""

    code, message = "credential_invalid", "The credential was not accepted."


class Forbidden(Refusal):
    status = 403


class GrantMissing(Forbidden):
    code, message = "grant_missing", "This principal may not do this here."


class RoleMissing(Forbidden):
    code, message = "role_missing", "This principal has none of the roles that are needed here."


class ScopeMissing(Forbidden):
    code, message = "scope_missing", "This credential's scopes don't cover this."


class OriginNotAllowed(Forbidden):
    code, message = "origin_not_allowed", "Pages of this origin may not open WebSockets here."


class RouteChanged(Forbidden):
    """What a connection was opened under is no longer so."""

    code, message = "route_changed", "The route was changed; connect again."


class ClientTimeout(Refusal):
    status, code, message = 408, "client_timeout", "The body stopped coming."


class BodyTooLarge(Refusal):
    status, code, message = 413, "body_too_large", "The body is larger than this route accepts."


class TooManyConnections(Refusal):
    status, code, message = 429, "too_many_connections", "This principal has too many connections open here."

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"retry-after", b"1")]


class HeadersTooLarge(Refusal):
    status, code, message = 431, "headers_too_large", "The headers are too many or too large."


class Unavailable(Refusal):
    status, code, message = 503, "unavailable", "The gateway can't decide about this request now."

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"retry-after", b"1")]


class NotReady(Unavailable):
    code, message = "not_ready", "The gateway has no configuration yet."


class RouteUnavailable(Unavailable):
    code, message = "route_unavailable", "This route's configuration is broken; the others serve."


class CredentialsUnavailable(Unavailable):
    code, message = "credentials_unavailable", "Credentials can't be looked up now."


class Draining(Unavailable):
    code, message = "draining", "The gateway is about to stop; connect again."


class AuditUnavailable(Unavailable):
    code, message = "audit_unavailable", "What happens here must be recorded, and can't be now."


class UpstreamFailure(GatewayError):
    """The upstream gave no response that could be passed on."""


class UpstreamUnreachable(UpstreamFailure):
    status, code, message = 502, "upstream_unreachable", "The service behind this route can't be reached."


class UpstreamInvalid(UpstreamFailure):
    status, code, message = (
        502,
        "upstream_invalid_response",
        "The service behind this route sent no valid response.",
    )


class UpstreamBusy(UpstreamFailure):
    status, code, message = (
        503,
        "upstream_busy",
        "The service behind this route is at its limit of connections.",
    )

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"retry-after", b"1")]


class UpstreamTimeout(UpstreamFailure):
    status, code, message = 504, "upstream_timeout", "The service behind this route did not answer in time."


class UpstreamAborted(GatewayError):
    """The upstream broke off after its response had begun."""

    status, code, message = 502, "upstream_abort", "The service broke off its response."


class ClientLeft(GatewayError):
    """The client closed its connection before it had the whole response."""

    status, code, message = 499, "client_left", "The client left."
