"""Turn an ASGI scope into an Exchange, or refuse it. Pure: no I/O.

Step 1 of a request's way: whatever two parsers could read in two ways ends here, before a route
or a credential is looked at.
"""

import re
from collections.abc import Mapping
from time import perf_counter, time
from typing import Any, NamedTuple

from accounts.identity import Presented
from routing.pipeline import ids
from routing.pipeline.client_address import Network, client_address, folded, is_trusted
from routing.pipeline.errors import (
    BadFraming,
    BadHeader,
    BadHost,
    BadMethod,
    BadRequest,
    DuplicateHeader,
    HeadersTooLarge,
    MethodNotAllowed,
    RouteNotFound,
)
from routing.pipeline.exchange import Exchange
from routing.pipeline.headers import HOP_BY_HOP, Field, classify
from routing.pipeline.target import canonical_path, canonical_query

_KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_METHOD = re.compile(r"[A-Z][A-Z0-9-]{1,31}").fullmatch
_HOST = re.compile(
    rb"(?:[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?\.?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
).fullmatch
_DIGITS = re.compile(rb"[0-9]{1,18}").fullmatch
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_PASS, _DROP, _UNDERSCORE = Field.PASS, Field.DROP, Field.UNDERSCORE
# Hosts that were found well-formed: most requests name one of few.
_HOSTS_LIMIT = 1024
_hosts: dict[bytes, str] = {}
# Cookies of the admin: an upstream behind the same host must not get to see them.
_OWN_COOKIE = b"gatehouse_"


class HygieneLimits(NamedTuple):
    header_count: int = 100
    header_bytes: int = 32_768
    reject_underscores: bool = False


class Hygiene(NamedTuple):
    """What the rules depend on besides the request."""

    limits: HygieneLimits = HygieneLimits()
    trusted_proxies: tuple[Network, ...] = ()


def start_exchange(scope: Mapping[str, Any]) -> Exchange:
    """An exchange with nothing but what is needed to answer and record a request that is refused."""
    # One character more than a method may have, so that a longer one is refused, not cut to fit.
    exchange = Exchange(str(scope.get("method", "GET"))[:33], b"", b"")
    exchange.started = perf_counter()
    exchange.started_at = time()
    exchange.websocket = scope["type"] == "websocket"
    client = scope.get("client")
    exchange.peer = exchange.client_ip = client[0] if client else ""
    return exchange


def read_scope(exchange: Exchange, scope: Mapping[str, Any], hygiene: Hygiene) -> None:
    """Fill the exchange from the scope. Raises BadRequest, MethodNotAllowed or HeadersTooLarge.

    A server that could not read the request to its end says why under the scope's `problem`, a Refusal.
    Ids come first, so that a refusal can be answered and recorded under them.
    """
    memo: HeaderMemo | None = scope.get("memo")
    known = memo is not None and memo.hygiene is hygiene
    if memo is not None and known:
        seen = memo.recall(exchange)
        _set_ids(exchange, seen)
    else:
        seen = _read_headers(exchange, scope["headers"], hygiene.limits)
        _set_ids(exchange, seen)
        _set_client(exchange, seen, scope, hygiene.trusted_proxies)
    problem = scope.get("problem") or seen.problem
    if problem is not None:
        raise problem
    if exchange.method not in _KNOWN_METHODS:
        _check_method(exchange)
    raw_path = _raw_path(scope)
    if raw_path == b"*" and exchange.method == "OPTIONS":
        # RFC 9110 9.3.7: it asks about the gateway itself, and no service may answer for that.
        raise RouteNotFound("OPTIONS *")
    exchange.path, exchange.encoded_slash = canonical_path(raw_path)
    query = scope.get("query_string", b"")
    exchange.query, api_key_query, ticket = canonical_query(query) if query else (b"", None, None)
    if not known:
        _set_host(exchange, seen.host)
    if seen.transfer_encoding is not None or seen.content_length is not None:
        _set_framing(exchange, seen)
    if exchange.trace is not None:
        exchange.note(
            "hygiene", "pass", "canonical target %s%s", exchange.path.decode(), _shown(exchange.query)
        )
        exchange.note("address", "pass", "the client is %s", exchange.client_ip)
    if memo is not None and known and api_key_query is None and ticket is None:
        exchange.presented = memo.presented
        return
    exchange.presented = presented = Presented(
        seen.authorization, seen.api_key, api_key_query, exchange.client_ip, ticket
    )
    if memo is not None and not known:
        memo.keep(hygiene, exchange, seen, presented._replace(api_key_query=None, ticket=None, digests={}))


def _shown(query: bytes) -> str:
    return f"?{query.decode()}" if query else ""


class _Seen:
    """Fields that the gateway reads itself. Defaults stand on the class."""

    host: bytes | None = None
    content_length: bytes | None = None
    transfer_encoding: bytes | None = None
    authorization: bytes | None = None
    api_key: bytes | None = None
    connection: tuple[bytes, ...] = ()
    request_id: bytes | None = None
    trace_id: bytes | None = None
    traceparent: bytes | None = None
    forwarded_for: tuple[bytes, ...] = ()
    forwarded_proto: bytes | None = None
    problem: BadRequest | HeadersTooLarge | None = None


class HeaderMemo:
    """What the fields of one request said, for the next on its connection that has the very same ones.

    Clients that keep a connection mostly repeat themselves. Only what depends on the fields, the peer and
    the rules is kept; new rules (another Hygiene) make it worthless.
    """

    __slots__ = (
        "_client_ip",
        "_headers",
        "_host",
        "_origin",
        "_scheme",
        "_seen",
        "_user_agent",
        "hygiene",
        "presented",
    )

    def __init__(self) -> None:
        self.hygiene: Hygiene | None = None

    def keep(self, hygiene: Hygiene, exchange: Exchange, seen: _Seen, presented: Presented) -> None:
        self.hygiene = hygiene
        self.presented = presented
        self._seen = seen
        self._headers = exchange.headers
        self._user_agent = exchange.user_agent
        self._origin = exchange.origin
        self._client_ip = exchange.client_ip
        self._scheme = exchange.scheme
        self._host = exchange.host

    def recall(self, exchange: Exchange) -> _Seen:
        exchange.headers = self._headers
        if self._user_agent:
            exchange.user_agent = self._user_agent
        if self._origin is not None:
            exchange.origin = self._origin
        exchange.client_ip = self._client_ip
        exchange.scheme = self._scheme
        exchange.host = self._host
        return self._seen


def _read_headers(exchange: Exchange, headers: Any, limits: HygieneLimits) -> _Seen:
    """Sort every field; the first fault is kept and raised later, when the ids are known."""
    seen = _Seen()
    passing = exchange.headers
    size = 0
    for name, value in headers:
        size += len(name) + len(value) + 4
        field = classify(name)
        if field == _PASS:
            if _BAD_VALUE(value) is not None:
                seen.problem = seen.problem or BadHeader("control character in a field")
                continue
            passing.append((name, value))
        elif field != _DROP:
            _SORT[field](exchange, seen, name, value)
            if field == _UNDERSCORE and limits.reject_underscores:
                seen.problem = seen.problem or BadHeader("underscore in a field's name")
    if len(headers) > limits.header_count or size > limits.header_bytes:
        seen.problem = HeadersTooLarge(f"{len(headers)} fields, {size} bytes")
    if seen.connection:
        _drop_connection_fields(exchange, seen.connection)
    return seen


def _once(attribute: str) -> Any:
    def store(exchange: Exchange, seen: _Seen, name: bytes, value: bytes) -> None:
        if getattr(seen, attribute) is not None:
            seen.problem = seen.problem or DuplicateHeader(f"two values of {name.decode()}")
        elif _BAD_VALUE(value) is not None:
            seen.problem = seen.problem or BadHeader(f"control character in {name.decode()}")
        setattr(seen, attribute, value)

    return store


def _first(attribute: str) -> Any:
    def store(exchange: Exchange, seen: _Seen, name: bytes, value: bytes) -> None:
        if getattr(seen, attribute) is None:
            setattr(seen, attribute, value)

    return store


def _many(attribute: str) -> Any:
    def store(exchange: Exchange, seen: _Seen, name: bytes, value: bytes) -> None:
        setattr(seen, attribute, (*getattr(seen, attribute), value))

    return store


def _pass(exchange: Exchange, seen: _Seen, name: bytes, value: bytes) -> None:
    if _BAD_VALUE(value) is not None:
        seen.problem = seen.problem or BadHeader(f"control character in {name.decode()}")
    exchange.headers.append((name, value))


def _user_agent(exchange: Exchange, seen: _Seen, name: bytes, value: bytes) -> None:
    exchange.user_agent = value
    _pass(exchange, seen, name, value)


def _origin(exchange: Exchange, seen: _Seen, name: bytes, value: bytes) -> None:
    exchange.origin = value
    _pass(exchange, seen, name, value)


def _cookie(exchange: Exchange, seen: _Seen, name: bytes, value: bytes) -> None:
    if _OWN_COOKIE in value:
        kept = [part for part in value.split(b";") if not part.strip().startswith(_OWN_COOKIE)]
        value = b";".join(kept).strip()
    if value:
        _pass(exchange, seen, name, value)


def _referer(exchange: Exchange, seen: _Seen, name: bytes, value: bytes) -> None:
    # A page opened with ?api_key= would hand the key to the upstream in its next request's Referer.
    _pass(exchange, seen, name, value.partition(b"?")[0])


def _ignore(exchange: Exchange, seen: _Seen, name: bytes, value: bytes) -> None:
    """Read for its presence only, or not at all; never passed on."""


def _malformed(exchange: Exchange, seen: _Seen, name: bytes, value: bytes) -> None:
    seen.problem = seen.problem or BadHeader("malformed field name")


_SORT = {
    Field.HOST: _once("host"),
    Field.CONTENT_LENGTH: _once("content_length"),
    Field.TRANSFER_ENCODING: _once("transfer_encoding"),
    Field.AUTHORIZATION: _once("authorization"),
    Field.API_KEY: _once("api_key"),
    Field.CONNECTION: _many("connection"),
    Field.REQUEST_ID: _first("request_id"),
    Field.TRACE_ID: _first("trace_id"),
    Field.TRACEPARENT: _first("traceparent"),
    Field.FORWARDED_FOR: _many("forwarded_for"),
    Field.FORWARDED_PROTO: _first("forwarded_proto"),
    Field.FORWARDED_HOST: _ignore,
    Field.UPGRADE: _ignore,
    Field.UNDERSCORE: _ignore,
    Field.MALFORMED: _malformed,
    Field.COOKIE: _cookie,
    Field.USER_AGENT: _user_agent,
    Field.REFERER: _referer,
    Field.ORIGIN: _origin,
}


def _drop_connection_fields(exchange: Exchange, connection: tuple[bytes, ...]) -> None:
    # RFC 9110 7.6.1: fields named in Connection are hop-by-hop too.
    named = {token.strip().lower() for token in b",".join(connection).split(b",")} - HOP_BY_HOP
    if named - {b"", b"close"}:
        exchange.headers = [field for field in exchange.headers if field[0] not in named]


def _set_ids(exchange: Exchange, seen: _Seen) -> None:
    fresh, exchange.span_id = ids.new_ids()
    exchange.trace_id = exchange.request_id = fresh
    if seen.traceparent is not None or seen.trace_id is not None:
        exchange.trace_id = ids.trace_id_from(seen.traceparent, seen.trace_id) or fresh
    if seen.request_id is not None:
        exchange.request_id = ids.request_id_from(seen.request_id) or fresh


def _set_client(
    exchange: Exchange, seen: _Seen, scope: Mapping[str, Any], trusted: tuple[Network, ...]
) -> None:
    if scope.get("scheme", "http") in ("https", "wss"):
        exchange.scheme = "https"
    if not trusted:
        exchange.client_ip = folded(exchange.peer)
        return
    exchange.client_ip = client_address(exchange.peer, seen.forwarded_for, trusted)
    if seen.forwarded_proto in (b"http", b"https") and is_trusted(exchange.peer, trusted):
        exchange.scheme = seen.forwarded_proto.decode()


def _check_method(exchange: Exchange) -> None:
    method = exchange.method
    if method in ("CONNECT", "TRACE"):
        raise MethodNotAllowed(reason=f"{method} is never proxied")
    if _METHOD(method) is None:
        raise BadMethod(f"method {method!r}")


def _raw_path(scope: Mapping[str, Any]) -> bytes:
    raw = scope.get("raw_path")
    if raw is None:
        raise BadRequest("the server gave no raw path")
    # Some servers leave the query on it.
    return bytes(raw).partition(b"?")[0]


def _set_host(exchange: Exchange, host: bytes | None) -> None:
    if not host:
        raise BadHost("no Host header")
    text = _hosts.get(host)
    if text is None:
        text = _canonical_host(host)
        if len(_hosts) < _HOSTS_LIMIT:
            _hosts[host] = text
    exchange.host = text


def _canonical_host(host: bytes) -> str:
    lowered = host.lower()
    if _HOST(lowered) is None or b".." in lowered:
        raise BadHost("malformed Host header")
    return lowered.decode()


def _set_framing(exchange: Exchange, seen: _Seen) -> None:
    if seen.transfer_encoding is not None:
        if seen.content_length is not None:
            raise BadFraming("Content-Length beside Transfer-Encoding")
        if seen.transfer_encoding.strip().lower() != b"chunked":
            raise BadFraming("a transfer coding other than chunked")
        exchange.chunked = True
    elif seen.content_length is not None:
        if _DIGITS(seen.content_length) is None:
            raise BadFraming("Content-Length is not a number")
        exchange.content_length = int(seen.content_length)
    if exchange.websocket and exchange.has_body:
        raise BadFraming("an upgrade with a body")
