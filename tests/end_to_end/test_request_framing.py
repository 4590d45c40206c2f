"""Rule 3, towards the upstream: the gateway alone says where a request begins and ends."""

import pytest

from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import ConnectionEnded, RawClient, request_bytes
from tests.end_to_end.stub_upstream import StubUpstream

CHUNKED = "Transfer-Encoding: chunked"
BODY = b"5\r\nhello\r\n0\r\n\r\n"

# Header lines, body, and the body that the upstream has to see.
FRAMED = {
    "length": (["Content-Length: 5"], b"hello", b"hello"),
    "length-zero": (["Content-Length: 0"], b"", b""),
    "length-with-leading-zeros": (["Content-Length: 0005"], b"hello", b"hello"),
    "chunked": ([CHUNKED], BODY, b"hello"),
    "chunked-upper-case": (["TRANSFER-ENCODING: CHUNKED"], BODY, b"hello"),
    "chunked-in-pieces": ([CHUNKED], b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", b"hello"),
    "chunked-empty": ([CHUNKED], b"0\r\n\r\n", b""),
    "chunk-extension": ([CHUNKED], b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello"),
    "chunk-size-with-zeros": ([CHUNKED], b"00005\r\nhello\r\n0\r\n\r\n", b"hello"),
    "request-in-the-body": (["Content-Length: 32"], b"GET /private/x HTTP/1.1\r\nHost: a", None),
    "chunks-in-a-length-body": (["Content-Length: 15"], BODY, BODY),
}

HANDSHAKE = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]
REFUSED = {
    "two-lengths": (["Content-Length: 5", "Content-Length: 6"], b"hello!"),
    "length-list": (["Content-Length: 5, 6"], b"hello!"),
    "length-with-sign": (["Content-Length: +5"], b"hello"),
    "length-negative": (["Content-Length: -5"], b"hello"),
    "length-hexadecimal": (["Content-Length: 0x5"], b"hello"),
    "length-with-space-within": (["Content-Length: 5 5"], b"hello"),
    "length-empty": (["Content-Length:"], b"hello"),
    "length-huge": (["Content-Length: 99999999999999999999"], b"hello"),
    "space-before-colon": (["Content-Length : 5"], b"hello"),
    "coding-with-space-before-colon": (["Transfer-Encoding : chunked"], BODY),
    "coding-unknown": (["Transfer-Encoding: xchunked"], BODY),
    "coding-identity": (["Transfer-Encoding: identity"], b""),
    "coding-gzip-then-chunked": (["Transfer-Encoding: gzip, chunked"], BODY),
    "coding-chunked-then-gzip": (["Transfer-Encoding: chunked, gzip"], BODY),
    "coding-chunked-twice": (["Transfer-Encoding: chunked, chunked"], BODY),
    "coding-on-two-lines": (["Transfer-Encoding: identity", CHUNKED], BODY),
    "coding-quoted": (['Transfer-Encoding: "chunked"'], BODY),
    "folded-line": (["X-A: 1", " Transfer-Encoding: chunked"], BODY),
    "header-without-colon": (["X-A"], b""),
    "header-name-with-space": (["X A: 1"], b""),
    "header-name-empty": ([": 1"], b""),
    "nul-in-a-value": (["X-A: a\x00b"], b""),
    "control-character-in-a-value": (["X-A: a\x01b"], b""),
    "upgrade-with-length": ([*HANDSHAKE, "Content-Length: 5"], b"hello"),
    "upgrade-with-chunks": ([*HANDSHAKE, CHUNKED], BODY),
}

BROKEN_CHUNKS = {
    "size-not-hexadecimal": b"z\r\nhello\r\n0\r\n\r\n",
    "size-with-sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "size-prefixed": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size-too-large": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "data-longer-than-its-size": b"3\r\nhello\r\n0\r\n\r\n",
    "no-line-end-after-data": b"5\r\nhello0\r\n\r\n",
}

METHODS_REFUSED = {
    "lower-case": ("get", 400),
    "mixed-case": ("Get", 400),
    "with-a-mark": ("G@T", 400),
    "too-long": ("A" * 40, 400),
    "trace": ("TRACE", 405),
}

HOSTS_REFUSED = {
    "missing": None,
    "empty": "",
    "space": "a b",
    "user": "user@gateway.test",
    "path": "gateway.test/x",
    "list": "a.test, b.test",
    "two-dots": "a..test",
    "bracket-open": "[::1",
    "port-not-a-number": "gateway.test:http",
    "port-too-long": "gateway.test:123456",
    "underscore-first": "_x.test",
    "percent": "gateway%2etest",
    "non-ascii": "g\xe4teway.test",
    "quote": 'gateway.test"',
    "backslash": "gateway.test\\x",
}


@pytest.mark.parametrize("lines, body, expected", FRAMED.values(), ids=FRAMED.keys())
def test_upstream_gets_one_clear_length(
    gateway: GatewayProcess,
    upstream: StubUpstream,
    name: str,
    lines: list[str],
    body: bytes,
    expected: bytes | None,
) -> None:
    answer = gateway.exchange(request_bytes(f"/open/{name}", *lines, method="POST", body=body))
    assert answer.status == 200
    request = upstream.wait_for_body(f"/open/{name}")
    assert request.body == (body if expected is None else expected)
    framing = (len(request.values("Content-Length")), len(request.values("Transfer-Encoding")))
    assert framing in [(1, 0), (0, 1)]
    assert request.values("Content-Length") in ([], [str(len(request.body)).encode()])
    assert request.values("Transfer-Encoding") in ([], [b"chunked"])
    assert b";" not in request.raw_body.split(b"\r\n")[0] or request.values("Content-Length")
    assert upstream.to("/private/x") == []


def test_request_without_a_body_goes_up_without_framing(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    gateway.exchange(request_bytes(f"/open/{name}"))
    request = upstream.wait_for_request(f"/open/{name}")
    assert request.values("Content-Length") + request.values("Transfer-Encoding") == []


@pytest.mark.parametrize("lines, body", REFUSED.values(), ids=REFUSED.keys())
def test_unclear_framing_is_refused_before_the_upstream(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, lines: list[str], body: bytes
) -> None:
    assert _status(gateway, request_bytes(f"/open/{name}", *lines, body=body)) in (400, None)
    assert upstream.to(f"/open/{name}") == []


@pytest.mark.parametrize(
    "lines",
    [["Content-Length: 4", CHUNKED], [CHUNKED, "Content-Length: 4"], ["Content-Length: 0", CHUNKED]],
    ids=["length-first", "chunked-first", "length-zero"],
)
def test_length_beside_chunked_is_one_request_and_ends_the_connection(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, lines: list[str]
) -> None:
    # RFC 9112 6.3 lets the server obey the chunks if it then closes: nothing behind them is a request.
    sent = request_bytes(f"/open/{name}", *lines, method="POST", body=BODY)
    with gateway.connect() as client:
        client.send(sent + request_bytes(f"/open/{name}/smuggled"))
        answer = client.read_response()
        assert client.read_until_closed() == b""
    seen = [
        (r.body, r.values("Content-Length"), r.values("Transfer-Encoding"))
        for r in upstream.to(f"/open/{name}")
    ]
    assert (answer.status, seen) in [
        (400, []),
        (200, [(b"hello", [b"5"], [])]),
        (200, [(b"hello", [], [b"chunked"])]),
    ]
    assert upstream.to(f"/open/{name}/smuggled") == []


@pytest.mark.parametrize("body", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS.keys())
def test_broken_chunks_never_make_a_complete_request_upstream(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, body: bytes
) -> None:
    status = _status(gateway, request_bytes(f"/open/{name}", CHUNKED, method="POST", body=body))
    assert status in (400, None)
    for request in upstream.to(f"/open/{name}"):
        upstream.wait_until_closed(request)
        assert not request.complete


def _status(gateway: GatewayProcess, sent: bytes) -> int | None:
    """The status, None when the connection is closed or reset instead."""
    with RawClient(gateway.port) as client:
        client.send(sent)
        try:
            return client.read_response().status
        except (ConnectionEnded, ConnectionResetError):
            return None


@pytest.mark.parametrize("method, status", METHODS_REFUSED.values(), ids=METHODS_REFUSED.keys())
def test_method_that_is_no_plain_token_is_refused(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, method: str, status: int
) -> None:
    answer = gateway.exchange(request_bytes(f"/open/{name}", method=method))
    assert answer.status == status
    assert upstream.to(f"/open/{name}") == []


def test_connect_is_refused(gateway: GatewayProcess, upstream: StubUpstream, name: str) -> None:
    target = f"127.0.0.1:{upstream.port}"
    answer = gateway.exchange(request_bytes(target, f"X-Case: {name}-end", method="CONNECT"))
    assert answer.status in (400, 405)
    assert f"{name}-end".encode() not in upstream.received_bytes()


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH"])
def test_any_upper_case_method_reaches_the_upstream(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, method: str
) -> None:
    assert gateway.exchange(request_bytes(f"/open/{name}", method=method)).status == 200
    assert upstream.wait_for_request(f"/open/{name}").method == method.encode()


@pytest.mark.parametrize("host", HOSTS_REFUSED.values(), ids=HOSTS_REFUSED.keys())
def test_host_that_is_missing_or_malformed_is_refused(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, host: str | None
) -> None:
    assert gateway.exchange(request_bytes(f"/open/{name}", host=host)).status == 400
    assert upstream.to(f"/open/{name}") == []


def test_http_1_0_without_host_is_refused(gateway: GatewayProcess) -> None:
    assert gateway.exchange(b"GET /open/x HTTP/1.0\r\n\r\n").status == 400


@pytest.mark.parametrize(
    "lines",
    [
        ["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"],
        ["Upgrade: TLS/1.0", "Connection: upgrade"],
        ["Upgrade: anything"],
    ],
    ids=["h2c", "tls", "unasked"],
)
def test_upgrade_that_is_no_websocket_is_ignored_and_stripped(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, lines: list[str]
) -> None:
    assert gateway.exchange(request_bytes(f"/open/{name}", *lines)).status == 200
    head = upstream.wait_for_request(f"/open/{name}").head.lower()
    assert b"upgrade" not in head
    assert b"http2-settings" not in head


def test_expect_is_answered_by_the_gateway_and_not_passed_on(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    with gateway.connect() as client:
        lines = ["Expect: 100-continue", "Content-Length: 5"]
        client.send(request_bytes(f"/open/{name}", *lines, method="POST"))
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.read_response().status == 200
    request = upstream.wait_for_body(f"/open/{name}")
    assert (request.body, request.values("Expect")) == (b"hello", [])


def test_pipelined_requests_are_answered_in_order_and_kept_apart(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    with gateway.connect() as client:
        first = request_bytes(f"/open/{name}/1", "Content-Length: 4", method="POST", body=b"GET ")
        client.send(first + request_bytes(f"/open/{name}/2") + request_bytes(f"/private/{name}"))
        answers = [client.read_response() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 401]
    assert [a.json()["target"] for a in answers[:2]] == [f"/open/{name}/1", f"/open/{name}/2"]
    assert upstream.to(f"/private/{name}") == []


def test_bytes_after_a_body_are_the_next_request_and_nothing_else(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    with gateway.connect() as client:
        smuggled = request_bytes(f"/private/{name}")
        client.send(request_bytes(f"/open/{name}", "Content-Length: 2", method="POST", body=b"ab" + smuggled))
        assert client.read_response().status == 200
        assert client.read_response().error_code == "credential_missing"
    assert upstream.wait_for_body(f"/open/{name}").body == b"ab"
    assert upstream.to(f"/private/{name}") == []


def test_upload_that_breaks_off_closes_the_upstream_connection(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    for number, lines in enumerate([["Content-Length: 500000"], [CHUNKED]]):
        path = f"/open/{name}-{number}"
        with gateway.connect() as client:
            body = b"x" * 70_000 if number == 0 else b"11170\r\n" + b"x" * 70_000 + b"\r\n"
            client.send(request_bytes(path, *lines, method="POST", body=body))
            request = upstream.wait_for_request(path)
        upstream.wait_until_closed(request, timeout_seconds=2)
        assert not request.complete


def test_upload_reaches_the_upstream_while_it_is_still_being_sent(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    with gateway.connect() as client:
        client.send(request_bytes(f"/large/{name}", CHUNKED, method="POST", body=b"5\r\nfirst\r\n"))
        request = upstream.wait_for_request(f"/large/{name}")
        client.send(b"6\r\nsecond\r\n0\r\n\r\n")
        assert client.read_response().status == 200
    assert request.body == b"firstsecond"
    assert request.values("Transfer-Encoding") == [b"chunked"]


def test_lines_towards_the_upstream_end_in_crlf_whatever_the_client_sent(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    sent = request_bytes(f"/open/{name}", "X-A: 1").replace(b"\r\n", b"\n")
    assert _status(gateway, sent) in (200, 400, None)
    for request in upstream.to(f"/open/{name}"):
        assert request.head.replace(b"\r\n", b"").count(b"\n") == 0
