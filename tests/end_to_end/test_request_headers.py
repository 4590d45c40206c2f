"""Rule 2: the headers an upstream gets are rebuilt. A client can neither forge nor remove one of ours."""

import re

import pytest

from tests.end_to_end.configuration import ALICE_KEY, BOB_KEY
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream

KEY = f"X-API-Key: {ALICE_KEY}"

# Never passed on, whoever sends it: the value is the mark to look for.
DROPPED = [
    "X-User-Id",
    "x-USER-id",
    "X-User-Name",
    "X-User-Roles",
    "X-User-Permissions",
    "X-User-Anything",
    "X_User_Id",
    "X-User_Id",
    "X_USER_ROLES",
    "X-Gateway-Signature",
    "X_Gateway_Signature",
    "X-Gateway-Anything",
    "X-Internal-Service",
    "X_Internal_Service",
    "X-Forwarded-For",
    "X_Forwarded_For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-User",
    "X-Forwarded-Client-Cert",
    "Forwarded",
    "X-Real-IP",
    "X_Real_IP",
    "X-Client-IP",
    "True-Client-IP",
    "X-Original-URL",
    "X-Original-Method",
    "X-Original-Forwarded-For",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Remote-User",
    "Remote-User",
    "X-Auth-Request-User",
    "Proxy",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Keep-Alive",
    "TE",
    "Trailer",
    "HTTP2-Settings",
    "Some_Header",
]

DUPLICATED = {
    "authorization": ("Authorization: Bearer a", "Authorization: Bearer b"),
    "authorization-in-two-cases": ("Authorization: Bearer a", "AUTHORIZATION: Bearer b"),
    "authorization-same-value": ("Authorization: Bearer a", "Authorization: Bearer a"),
    "api-key": (f"X-API-Key: {ALICE_KEY}", f"X-API-Key: {BOB_KEY}"),
    "api-key-in-two-cases": (f"X-API-Key: {ALICE_KEY}", f"x-api-key: {ALICE_KEY}"),
    "host": ("Host: other.test",),
    "host-same-value": ("host: gateway.test",),
    "content-length": ("Content-Length: 0", "Content-Length: 5"),
}

CONNECTION = {
    "one": ["Connection: X-Custom"],
    "lower-case": ["connection: x-custom"],
    "in-a-list": ["Connection: close , X-CUSTOM,, keep-alive"],
    "several-lines": ["Connection: keep-alive", "Connection: x-custom"],
    "named-after-the-field": ["Connection: X-Custom", "X-Other: 1"],
}

PASSING = {
    "accept": ("Accept", b"text/html;q=0.9, */*"),
    "cookie": ("Cookie", b"a=1; b=2"),
    "cookie-of-the-upstream": ("Cookie", b"sessionid=1; csrftoken=2"),
    "non-ascii": ("X-Custom", b"caf\xe9 \xc3\xa9"),
    "empty": ("X-Custom", b""),
    "inner-spaces": ("X-Custom", b"a  b\tc"),
    "every-mark": ("X-!#$%&'*+.^`|~9", b'"(),/:;<=>?@[\\]{}'),
    "range": ("Range", b"bytes=0-9"),
    "if-none-match": ("If-None-Match", b'"x"'),
    "long": ("X-Custom", b"x" * 8000),
}


def head_of(upstream: StubUpstream, path: str) -> bytes:
    found = upstream.to(path)
    assert len(found) == 1, found
    return found[0].head.lower()


@pytest.mark.parametrize("header", DROPPED)
@pytest.mark.parametrize("path", ["/open", "/private"])
def test_forged_header_never_reaches_the_upstream(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, header: str, path: str
) -> None:
    gateway.exchange(request_bytes(f"{path}/{name}", f"{header}: forged-value", KEY))
    assert b"forged-value" not in head_of(upstream, f"{path}/{name}")


@pytest.mark.parametrize("lines", DUPLICATED.values(), ids=DUPLICATED.keys())
def test_header_given_twice_is_refused(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, lines: tuple[str, ...]
) -> None:
    answer = gateway.exchange(request_bytes(f"/open/{name}", *lines))
    assert answer.status == 400
    assert upstream.to(f"/open/{name}") == []


def test_one_content_length_given_twice_is_refused_or_becomes_one(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    # The server folds equal values into one before the application sees them (RFC 9110 8.6 allows it).
    lines = ["Content-Length: 4", "Content-Length: 4"]
    answer = gateway.exchange(request_bytes(f"/open/{name}", *lines, method="POST", body=b"body"))
    seen = [request.values("Content-Length") for request in upstream.to(f"/open/{name}")]
    assert (answer.status, seen) in [(400, []), (200, [[b"4"]])]


@pytest.mark.parametrize("lines", CONNECTION.values(), ids=CONNECTION.keys())
def test_field_named_in_connection_is_dropped(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, lines: list[str]
) -> None:
    gateway.exchange(request_bytes(f"/open/{name}", *lines, "X-Custom: hop", "X-End: end"))
    request = upstream.wait_for_request(f"/open/{name}")
    assert request.values("X-Custom") == []
    assert request.values("Connection") in ([], [b"keep-alive"])
    assert request.values("X-End") == [b"end"]


@pytest.mark.parametrize(
    "removed",
    [
        "X-User-Id, X-User-Roles",
        "x-forwarded-for, X-Real-IP",
        "X-Request-ID, traceparent, X-Trace-Id",
        "Host, Content-Length",
        "X-Internal-Service",
        "X-API-Key, Authorization",
    ],
)
def test_client_cannot_remove_what_the_gateway_says(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, removed: str
) -> None:
    sent = request_bytes(
        f"/private/{name}", KEY, "Content-Length: 4", f"Connection: {removed}", method="POST", body=b"body"
    )
    assert gateway.exchange(sent).status == 200
    request = upstream.wait_for_body(f"/private/{name}")
    assert request.body == b"body"
    assert request.header("Host") == f"127.0.0.1:{upstream.port}".encode()
    assert request.header("Content-Length") == b"4"
    assert request.header("X-User-Name") == b"alice"
    assert request.header("X-User-Roles") == b"engineer"
    for own in ("X-User-Id", "X-Forwarded-For", "X-Real-IP", "X-Request-ID", "X-Trace-Id", "traceparent"):
        assert request.header(own), own


@pytest.mark.parametrize("header, value", PASSING.values(), ids=PASSING.keys())
def test_ordinary_header_reaches_the_upstream_byte_for_byte(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, header: str, value: bytes
) -> None:
    gateway.exchange(request_bytes(f"/open/{name}", f"{header}: ".encode() + value))
    assert upstream.wait_for_request(f"/open/{name}").values(header) == [value]


def test_repeated_ordinary_headers_keep_their_order(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    # Only the order within one name means anything (RFC 9110 5.3); the server groups by name.
    gateway.exchange(request_bytes(f"/open/{name}", "X-B: 2", "X-A: 9", "X-B: 1"))
    request = upstream.wait_for_request(f"/open/{name}")
    assert (request.values("X-B"), request.values("X-A")) == ([b"2", b"1"], [b"9"])


def test_upstream_learns_where_the_request_came_from(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    gateway.exchange(request_bytes(f"/open/{name}", host="Gateway.TEST:8000"))
    request = upstream.wait_for_request(f"/open/{name}")
    assert request.header("X-Forwarded-For") == b"127.0.0.1"
    assert request.header("X-Real-IP") == b"127.0.0.1"
    assert request.header("X-Forwarded-Proto") == b"http"
    assert request.header("X-Forwarded-Host") == b"gateway.test:8000"


@pytest.mark.parametrize(
    "line",
    [f"X-API-Key: {ALICE_KEY}", f"Authorization: Bearer {ALICE_KEY}", f"authorization: bearer {ALICE_KEY}"],
    ids=["x-api-key", "bearer", "bearer-lower-case"],
)
@pytest.mark.parametrize("path", ["/private", "/open"])
def test_credential_never_reaches_the_upstream(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, line: str, path: str
) -> None:
    assert gateway.exchange(request_bytes(f"{path}/{name}", line)).status == 200
    assert ALICE_KEY.encode() not in upstream.wait_for_request(f"{path}/{name}").head


@pytest.mark.parametrize("parameter", ["api_key", "API_KEY", "api%5Fkey", "%61pi_key"])
def test_key_in_the_query_never_reaches_the_upstream(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, parameter: str
) -> None:
    target = f"/query-key/{name}?a=1&{parameter}={ALICE_KEY}&b=2"
    answer = gateway.exchange(request_bytes(target, f"Referer: http://gateway.test{target}"))
    assert answer.status == 200
    request = upstream.wait_for_request(f"/query-key/{name}")
    assert request.target == f"/query-key/{name}?a=1&b=2".encode()
    assert ALICE_KEY.encode() not in request.head
    assert ALICE_KEY not in gateway.log()


def test_cookies_of_the_admin_stay_with_the_gateway(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    gateway.exchange(request_bytes(f"/open/{name}", "Cookie: a=1; gatehouse_sessionid=secret; b=2"))
    assert upstream.wait_for_request(f"/open/{name}").header("Cookie") == b"a=1; b=2"


def test_trailers_are_dropped(gateway: GatewayProcess, upstream: StubUpstream, name: str) -> None:
    body = b"4\r\nbody\r\n0\r\nX-User-Id: forged-trailer\r\nX-Custom: trailer\r\n\r\n"
    lines = ["Transfer-Encoding: chunked", "Trailer: X-User-Id"]
    answer = gateway.exchange(request_bytes(f"/open/{name}", *lines, method="POST", body=body))
    assert answer.status == 200
    request = upstream.wait_for_body(f"/open/{name}")
    assert request.body == b"body"
    received = bytes(upstream.connection_of(request).received)
    assert b"forged-trailer" not in received
    assert b"trailer" not in received.lower()


REQUEST_IDS = {
    "well-formed": (b"abc-123_XYZ.~!", True),
    "longest": (b"a" * 128, True),
    "too-long": (b"a" * 129, False),
    "space": (b"a b", False),
    "non-ascii": (b"caf\xe9", False),
    "empty": (b"", False),
}


@pytest.mark.parametrize("sent, kept", REQUEST_IDS.values(), ids=REQUEST_IDS.keys())
def test_request_id_is_kept_when_well_formed_and_replaced_otherwise(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, sent: bytes, kept: bool
) -> None:
    answer = gateway.exchange(request_bytes(f"/open/{name}", b"X-Request-ID: " + sent))
    answered = answer.header("X-Request-ID")
    assert answered == upstream.wait_for_request(f"/open/{name}").header("X-Request-ID")
    assert answered is not None
    assert (answered == sent) is kept
    assert kept or re.fullmatch(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answered)


TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_trace_is_continued_under_a_span_of_the_gateway(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    answer = gateway.exchange(request_bytes(f"/open/{name}", f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"))
    request = upstream.wait_for_request(f"/open/{name}")
    sent = request.header("traceparent")
    assert sent is not None
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-0[01]".encode(), sent)
    assert b"b7ad6b7169203331" not in sent
    trace_id = f"{TRACE[:8]}-{TRACE[8:12]}-{TRACE[12:16]}-{TRACE[16:20]}-{TRACE[20:]}".encode()
    assert request.header("X-Trace-Id") == answer.header("X-Trace-Id") == trace_id


@pytest.mark.parametrize(
    "value",
    [
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        "x",
    ],
    ids=["zero-trace", "zero-span", "version-ff", "garbage"],
)
def test_invalid_traceparent_starts_a_new_trace(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, value: str
) -> None:
    gateway.exchange(request_bytes(f"/open/{name}", f"traceparent: {value}"))
    sent = upstream.wait_for_request(f"/open/{name}").header("traceparent")
    assert sent is not None
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", sent)
    assert TRACE.encode() not in sent
