"""Sort header fields: which ones pass, which are the gateway's own to write. Pure: no I/O.

A client's field never reaches an upstream under a name that the gateway, a proxy before it or a
web framework would take for a fact about identity, address, framing or target.
"""

import re


class Field:
    """What the gateway does with a request header of a given name.

    Plain integers: an enum's members cost ten times as much to look up on the way of every header.
    """

    PASS = 0
    DROP = 1  # hop-by-hop, forged identity or address: never forwarded, never read
    HOST = 2
    CONTENT_LENGTH = 3
    TRANSFER_ENCODING = 4
    AUTHORIZATION = 5
    API_KEY = 6
    CONNECTION = 7
    REQUEST_ID = 8
    TRACE_ID = 9
    TRACEPARENT = 10
    FORWARDED_FOR = 11
    FORWARDED_PROTO = 12
    UPGRADE = 13
    COOKIE = 14
    USER_AGENT = 15
    UNDERSCORE = 16
    REFERER = 17
    ORIGIN = 18
    FORWARDED_HOST = 19
    MALFORMED = 20  # the name is no token


_READ = {
    b"host": Field.HOST,
    b"content-length": Field.CONTENT_LENGTH,
    b"transfer-encoding": Field.TRANSFER_ENCODING,
    b"authorization": Field.AUTHORIZATION,
    b"x-api-key": Field.API_KEY,
    b"connection": Field.CONNECTION,
    b"x-request-id": Field.REQUEST_ID,
    b"x-trace-id": Field.TRACE_ID,
    b"traceparent": Field.TRACEPARENT,
    b"x-forwarded-for": Field.FORWARDED_FOR,
    b"x-forwarded-proto": Field.FORWARDED_PROTO,
    b"x-forwarded-host": Field.FORWARDED_HOST,
    b"upgrade": Field.UPGRADE,
    b"cookie": Field.COOKIE,
    b"user-agent": Field.USER_AGENT,
    b"referer": Field.REFERER,
    b"origin": Field.ORIGIN,
}

# RFC 9110 7.6.1, and what HTTP/1.1 implementations treat as such.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
_DROPPED = HOP_BY_HOP | {
    b"expect",
    b"forwarded",
    b"x-real-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"true-client-ip",
    b"x-internal-service",
    b"remote-user",
    # A framework that obeys these would act on another method or path than the one decided on.
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"x-rewrite-url",
    # The httpoxy attack: CGI turns this into HTTP_PROXY.
    b"proxy",
}
_DROPPED_PREFIXES = (
    b"x-user-",
    b"x-gateway-",
    b"x-forwarded-",
    b"x-original-",
    b"x-remote-",
    b"x-auth-request-",
    b"x-authenticated-",
)
# What the gateway itself writes upstream: a route's header rule may not touch these either.
_WRITTEN = frozenset(
    {b"host", b"content-length", b"x-api-key", b"x-request-id", b"x-trace-id", b"traceparent"}
)

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_MEMO_LIMIT = 2048
_memo: dict[bytes, int] = {}


def classify(name: bytes) -> int:
    """Return the Field of a lower-cased header name. Remembers the first 2048 names it meets."""
    field = _memo.get(name)
    if field is None:
        field = _classify(name)
        if len(_memo) < _MEMO_LIMIT and len(name) <= 64:
            _memo[name] = field
    return field


def _classify(name: bytes) -> int:
    read = _READ.get(name)
    if read is not None:
        return read
    if b"_" in name:
        return Field.UNDERSCORE
    if _TOKEN(name) is None:
        return Field.MALFORMED
    if name in _DROPPED or name.startswith(_DROPPED_PREFIXES):
        return Field.DROP
    return Field.PASS


def is_reserved_request_header(name: bytes) -> bool:
    """Whether a route's header rule is kept from setting or removing this request header."""
    return name in _WRITTEN or name in _DROPPED or name.startswith(_DROPPED_PREFIXES)


def is_reserved_response_header(name: bytes) -> bool:
    return name in HOP_BY_HOP or name in (b"content-length", b"x-request-id", b"x-trace-id")


SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"geolocation=(), microphone=(), camera=()"),
    (b"cache-control", b"no-store"),
    (b"strict-transport-security", b"max-age=63072000; includeSubDomains; preload"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
