"""What hygiene makes of a scope, rule by rule; the tests over sockets are in tests/end_to_end."""

from ipaddress import ip_network
from typing import Any

import pytest

from routing.pipeline import headers as headers_module
from routing.pipeline import hygiene as module
from routing.pipeline.errors import GatewayError
from routing.pipeline.exchange import Exchange
from routing.pipeline.hygiene import Hygiene, HygieneLimits, read_scope, start_exchange
from tests.routing.pipeline.world import scope


def read(asked: dict[str, Any], hygiene: Hygiene = Hygiene()) -> Exchange:  # noqa: B008 - immutable
    exchange = start_exchange(asked)
    read_scope(exchange, asked, hygiene)
    return exchange


def outcome(asked: dict[str, Any], hygiene: Hygiene = Hygiene()) -> str:  # noqa: B008 - immutable
    try:
        read(asked, hygiene)
    except GatewayError as refusal:
        return f"{refusal.status} {refusal.code}"
    return "pass"


REFUSALS: dict[str, Any] = {
    "plain": (scope(), "pass"),
    "target": (scope(target="/a/../b"), "400 bad_target"),
    "query": (scope(target="/a?b=\x01"), "400 bad_target"),
    "asterisk": (scope("OPTIONS", "*"), "404 route_not_found"),
    "asterisk-of-another-method": (scope("GET", "*"), "400 bad_target"),
    "connect": (scope("CONNECT", ""), "405 method_not_allowed"),
    "trace": (scope("TRACE"), "405 method_not_allowed"),
    "method-lower": (scope("get"), "400 bad_method"),
    "method-mixed": (scope("Get"), "400 bad_method"),
    "method-with-space": (scope("GET X"), "400 bad_method"),
    "method-line-feed": (scope("GET\n"), "400 bad_method"),
    "method-empty": (scope(""), "400 bad_method"),
    "method-long": (scope("A" * 33), "400 bad_method"),
    "method-longest": (scope("A" * 32), "pass"),
    "method-other": (scope("PROPFIND"), "pass"),
    "no-host": (scope(host=None), "400 bad_host"),
    "host-empty": (scope(host=""), "400 bad_host"),
    "host-twice": (scope(headers=[("host", "gateway.test")]), "400 duplicate_header"),
    "host-with-space": (scope(host="a b"), "400 bad_host"),
    "host-with-path": (scope(host="a/b"), "400 bad_host"),
    "host-with-user": (scope(host="user@a"), "400 bad_host"),
    "host-two-dots": (scope(host="a..b"), "400 bad_host"),
    "host-list": (scope(host="a,b"), "400 bad_host"),
    "host-port-name": (scope(host="a:http"), "400 bad_host"),
    "host-port-long": (scope(host="a:123456"), "400 bad_host"),
    "host-leading-hyphen": (scope(host="-a"), "400 bad_host"),
    "host-percent": (scope(host="a%2fb"), "400 bad_host"),
    "host-line-feed": (scope(host="a\n"), "400 bad_header"),
    "host-final-dot": (scope(host="a.test."), "pass"),
    "host-ipv6": (scope(host="[::1]:80"), "pass"),
    "host-ipv6-open": (scope(host="[::1"), "400 bad_host"),
    "two-keys": (scope(headers=[("x-api-key", "a"), ("x-api-key", "a")]), "400 duplicate_header"),
    "two-authorizations": (
        scope(headers=[("authorization", "a"), ("authorization", "b")]),
        "400 duplicate_header",
    ),
    "two-lengths": (
        scope("POST", headers=[("content-length", "1"), ("content-length", "1")]),
        "400 duplicate_header",
    ),
    "length-and-chunked": (
        scope("POST", headers=[("content-length", "1"), ("transfer-encoding", "chunked")]),
        "400 bad_framing",
    ),
    "gzip-chunked": (scope("POST", headers=[("transfer-encoding", "gzip, chunked")]), "400 bad_framing"),
    "chunked-padded": (scope("POST", headers=[("transfer-encoding", " Chunked ")]), "pass"),
    "chunked-twice": (scope("POST", headers=[("transfer-encoding", "chunked")] * 2), "400 duplicate_header"),
    "length-signed": (scope("POST", headers=[("content-length", "+1")]), "400 bad_framing"),
    "length-empty": (scope("POST", headers=[("content-length", "")]), "400 bad_framing"),
    "length-list": (scope("POST", headers=[("content-length", "1, 1")]), "400 bad_framing"),
    "length-underscore": (scope("POST", headers=[("content-length", "1_0")]), "400 bad_framing"),
    "length-huge": (scope("POST", headers=[("content-length", "9" * 19)]), "400 bad_framing"),
    "length-unicode": (scope("POST", headers=[("content-length", "²")]), "400 bad_framing"),
    "upgrade-with-body": (
        scope(headers=[("content-length", "5")], type="websocket"),
        "400 bad_framing",
    ),
    "upgrade-with-length-0": (scope(headers=[("content-length", "0")], type="websocket"), "pass"),
    "nul-in-a-value": (scope(headers=[("x-a", b"a\x00b")]), "400 bad_header"),
    "crlf-in-a-value": (scope(headers=[("x-a", b"a\r\nb: c")]), "400 bad_header"),
    "lf-in-a-cookie": (scope(headers=[("cookie", b"a\nb")]), "400 bad_header"),
    "cr-in-the-user-agent": (scope(headers=[("user-agent", b"a\rb")]), "400 bad_header"),
    "lf-in-the-origin": (scope(headers=[("origin", b"a\nb")]), "400 bad_header"),
    "lf-in-the-key": (scope(headers=[("x-api-key", b"a\nb")]), "400 bad_header"),
    "tab-in-a-value": (scope(headers=[("x-a", b"a\tb")]), "pass"),
    "latin-1-in-a-value": (scope(headers=[("x-a", b"caf\xe9")]), "pass"),
    "space-in-a-name": (scope(headers=[("x a", "b")]), "400 bad_header"),
    "colon-in-a-name": (scope(headers=[("x:a", "b")]), "400 bad_header"),
    "empty-name": (scope(headers=[("", "b")]), "400 bad_header"),
    "underscore": (scope(headers=[("x_user_id", "1")]), "pass"),
    "hundred-fields": (scope(headers=[("x-a", "b")] * 99), "pass"),
    "more-fields": (scope(headers=[("x-a", "b")] * 100), "431 headers_too_large"),
    "large-field": (scope(headers=[("x-a", "b" * 32_768)]), "431 headers_too_large"),
    "no-raw-path": ({**scope(), "raw_path": None}, "400 bad_request"),
}


@pytest.mark.parametrize("asked, expected", REFUSALS.values(), ids=REFUSALS.keys())
def test_request_that_could_be_read_in_two_ways_is_refused(asked: Any, expected: str) -> None:
    assert outcome(asked) == expected


def test_underscore_is_refused_where_so_configured() -> None:
    strict = Hygiene(HygieneLimits(reject_underscores=True))
    assert outcome(scope(headers=[("x_user_id", "1")]), strict) == "400 bad_header"
    assert outcome(scope(headers=[("x-user", "1")]), strict) == "pass"


@pytest.mark.parametrize("field", [("x_secret", "1"), ("x-secret", "\x7f"), ("x secret", "1")])
def test_name_of_a_refused_field_is_not_quoted(field: tuple[str, str]) -> None:
    """Headers are not recorded at all, and the reason of a refusal is."""
    with pytest.raises(GatewayError) as refusal:
        read(scope(headers=[field]), Hygiene(HygieneLimits(reject_underscores=True)))
    assert "secret" not in refusal.value.reason


DROPPED = [
    "connection keep-alive proxy-connection proxy-authorization te trailer upgrade http2-settings expect",
    "forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-real-ip x-client-ip",
    "true-client-ip x-cluster-client-ip x-original-url x-original-uri x-rewrite-url x-http-method-override",
    "x-http-method x-method-override x-user-id x-user-roles x-user-anything x-gateway-user x-auth-request-email",
    "x-authenticated-user x-remote-user remote-user proxy x-internal-service authorization x-api-key host",
    "x_user_id x-user_id x_forwarded_for content_length x-request-id x-trace-id traceparent",
]


@pytest.mark.parametrize("name", " ".join(DROPPED).split())
def test_header_is_never_passed_on(name: str) -> None:
    headers = [] if name == "host" else [(name, "forged")]
    passed = read(scope(headers=[*headers, ("x-kept", "1")])).headers
    assert passed == [(b"x-kept", b"1")]


@pytest.mark.parametrize(
    "lines, kept",
    [
        (["x-a"], [b"x-b", b"x-c"]),
        (["X-A , x-B"], [b"x-c"]),
        (["x-a", "close, x-c"], [b"x-b"]),
        (["close"], [b"x-a", b"x-b", b"x-c"]),
        (["keep-alive, , te"], [b"x-a", b"x-b", b"x-c"]),
        (["x-a\t,x-b"], [b"x-c"]),
    ],
)
def test_fields_named_in_connection_stay(lines: list[str], kept: list[bytes]) -> None:
    connection = [("connection", line) for line in lines]
    exchange = read(scope(headers=[("x-a", "1"), *connection, ("x-b", "2"), ("x-c", "3")]))
    assert [name for name, _ in exchange.headers] == kept


def test_connection_cannot_take_a_credential_or_the_host_away() -> None:
    exchange = read(
        scope(headers=[("connection", "host, x-api-key, authorization, content-length"), ("x-api-key", "k")])
    )
    assert exchange.presented.api_key_header == b"k"
    assert exchange.host == "gateway.test"


@pytest.mark.parametrize(
    "sent, passed",
    [
        ("a=1", b"a=1"),
        ("gatehouse_session=s", None),
        ("a=1; gatehouse_session=s; b=2", b"a=1; b=2"),
        ("gatehouse_csrf=t;a=1", b"a=1"),
        ("my_gatehouse_session=1", b"my_gatehouse_session=1"),
    ],
)
def test_cookies_of_the_admin_stay(sent: str, passed: bytes | None) -> None:
    values = [value for name, value in read(scope(headers=[("cookie", sent)])).headers if name == b"cookie"]
    assert values == ([] if passed is None else [passed])


def test_referer_loses_its_query() -> None:
    exchange = read(scope(headers=[("referer", "https://a.test/x?api_key=secret")]))
    assert exchange.headers == [(b"referer", b"https://a.test/x")]


def test_refused_request_has_its_ids_all_the_same() -> None:
    asked = scope(target="/a//b", headers=[("x-request-id", "mine"), ("x-a", b"\x00")])
    exchange = start_exchange(asked)
    with pytest.raises(GatewayError):
        read_scope(exchange, asked, Hygiene())
    assert exchange.request_id == "mine"
    assert len(exchange.trace_id) == 36


@pytest.mark.parametrize(
    "peer, proto, scheme, expected",
    [
        ("10.0.0.1", "https", "http", "https"),
        ("10.0.0.1", "http", "https", "http"),
        ("10.0.0.1", "https, http", "http", "http"),
        ("10.0.0.1", "gopher", "http", "http"),
        ("192.0.2.9", "https", "http", "http"),
        ("192.0.2.9", "http", "https", "https"),
    ],
)
def test_scheme_is_believed_from_a_trusted_proxy_only(
    peer: str, proto: str, scheme: str, expected: str
) -> None:
    hygiene = Hygiene(trusted_proxies=(ip_network("10.0.0.0/8"),))
    asked = scope(client=peer, headers=[("x-forwarded-proto", proto)], scheme=scheme)
    assert read(asked, hygiene).scheme == expected


def test_what_is_remembered_of_strangers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers_module, "_memo", {})
    monkeypatch.setattr(module, "_hosts", {})
    for number in range(3000):
        read(scope(host=f"h{number}.test", headers=[(f"x-h{number}", "1"), ("x-" + "y" * 100, "1")]))
    assert len(headers_module._memo) <= headers_module._MEMO_LIMIT
    assert max(len(name) for name in headers_module._memo) <= 64
    assert len(module._hosts) <= module._HOSTS_LIMIT
    # Beyond the bound they are read as before.
    assert outcome(scope(headers=[("x-user-late", "1")])) == "pass"
    assert read(scope(headers=[("x-user-late", "1")])).headers == []
    assert outcome(scope(host="late..test")) == "400 bad_host"
