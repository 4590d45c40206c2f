"""What is remembered of one request on a connection is never taken for a fact about the next."""

from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from routing.pipeline.errors import GatewayError
from routing.pipeline.exchange import Exchange
from routing.pipeline.hygiene import HeaderMemo, Hygiene, HygieneLimits, read_scope, start_exchange

RULES = [
    Hygiene(),
    Hygiene(trusted_proxies=(ip_network("192.0.2.0/24"),)),
    Hygiene(HygieneLimits(reject_underscores=True)),
    Hygiene(HygieneLimits(header_count=3)),
]
FIELDS: list[tuple[bytes, bytes]] = [
    (b"host", b"a.test"),
    (b"host", b"b.test"),
    (b"host", b"a_b!"),
    (b"x-api-key", b"one"),
    (b"x-api-key", b"two"),
    (b"authorization", b"Basic YTpi"),
    (b"cookie", b"a=1; gatehouse_session=x"),
    (b"x-request-id", b"mine"),
    (b"x-trace-id", b"01234567-89ab-cdef-0123-456789abcdef"),
    (b"x-forwarded-for", b"198.51.100.1"),
    (b"x-forwarded-for", b"198.51.100.2, 192.0.2.9"),
    (b"x-forwarded-proto", b"https"),
    (b"content-length", b"5"),
    (b"content-length", b"6"),
    (b"content-length", b"x"),
    (b"transfer-encoding", b"chunked"),
    (b"connection", b"x-a"),
    (b"x-a", b"1"),
    (b"x_a", b"1"),
    (b"user-agent", b"agent"),
    (b"origin", b"https://a.test"),
    (b"x-bad", b"\x01"),
]
HEADERS = st.lists(st.sampled_from(FIELDS), max_size=5)
TARGETS = st.sampled_from(
    [(b"/x", b""), (b"/x", b"a=1"), (b"/x", b"api_key=three"), (b"/y", b"ticket=t"), (b"//", b"")]
)
METHODS = st.sampled_from(["GET", "POST", "BAD METHOD"])


def facts(scope: dict[str, Any], hygiene: Hygiene) -> dict[str, Any]:
    """All that is known of a request, but for the ids that are new in each."""
    exchange = start_exchange(scope)
    try:
        read_scope(exchange, scope, hygiene)
        code = None
    except GatewayError as error:
        code = error.code
    known = {name: getattr(exchange, name) for name in vars(Exchange) if _is_fact(name)}
    known["headers"] = list(exchange.headers)
    known["method"], known["path"], known["query"] = exchange.method, exchange.path, exchange.query
    known["presented"] = exchange.presented._replace(digests=None)
    sent = dict(scope["headers"])
    for name, field in (("request_id", b"x-request-id"), ("trace_id", b"x-trace-id")):
        if field not in sent:
            del known[name]  # a new one for each
    # What decides may put fields of its own beside them: that must not be remembered.
    exchange.headers = [*exchange.headers, (b"authorization", b"added")]
    if code is not None:
        # Its own host may be known of a request that is refused for what is looked at before.
        del known["host"]
    return known | {"code": code}


def _is_fact(name: str) -> bool:
    return not name.startswith("_") and name not in (
        "started",
        "started_at",
        "span_id",
        "note",
        "describe",
        "has_body",
    )


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(HEADERS, TARGETS, METHODS, st.sampled_from(RULES), st.booleans()), min_size=1, max_size=6
    )
)
def test_request_is_read_as_if_it_were_the_first(requests: list[Any]) -> None:
    remembered: list[tuple[bytes, bytes]] | None = None
    memo = HeaderMemo()
    before: list[tuple[bytes, bytes]] = []
    for headers, (path, query), method, hygiene, same in requests:
        # Half of them repeat the fields of the one before, as clients do.
        headers = list(before) if same else headers
        before = headers
        if headers != remembered:
            remembered, memo = headers, HeaderMemo()
        scope = {
            "type": "http",
            "method": method,
            "raw_path": path,
            "query_string": query,
            "headers": headers,
            "client": ("192.0.2.1", 1),
        }
        assert facts(scope | {"memo": memo}, hygiene) == facts(scope, hygiene)
