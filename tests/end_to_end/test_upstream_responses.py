"""Rule 3, towards the client: whatever an upstream sends, the client gets one response with one clear end."""

import pytest

from tests.end_to_end.configuration import ALICE_KEY
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import (
    CHUNKED_HEAD,
    LAST_CHUNK,
    chunk,
    close,
    response,
    send,
    wait,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n"

# What the upstream sends (then it closes), and the status and body that the client gets whole.
WHOLE = {
    "length": (response(body=b"hello"), 200, b"hello"),
    "length-zero": (response(), 200, b""),
    "chunked": (CHUNKED_HEAD + chunk(b"hel") + chunk(b"lo") + LAST_CHUNK, 200, b"hello"),
    "chunked-empty": (CHUNKED_HEAD + LAST_CHUNK, 200, b""),
    "chunk-extension": (OK + CHUNKS + b"\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n", 200, b"hello"),
    "trailers": (OK + CHUNKS + b"\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", 200, b"hello"),
    "until-closed": (OK + b"Content-Type: text/plain\r\n\r\nhello", 200, b"hello"),
    "until-closed-empty": (OK + b"\r\n", 200, b""),
    "http-1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello"),
    "no-content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not-modified": (b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', 304, b""),
    "not-modified-with-length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
    "continue-first": (b"HTTP/1.1 100 Continue\r\n\r\n" + response(body=b"hello"), 200, b"hello"),
    "processing-first": (
        b"HTTP/1.1 102 Processing\r\nX-A: 1\r\n\r\n" + response(body=b"hello"),
        200,
        b"hello",
    ),
    "hints-first": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + response(body=b"hello"),
        200,
        b"hello",
    ),
    "several-interim": (b"HTTP/1.1 102 P\r\n\r\n" * 3 + response(body=b"hello"), 200, b"hello"),
    "redirect-is-not-followed": (response("302 Found", [("Location", "/private")]), 302, b""),
    "status-unknown": (response("299 Odd", body=b"hello"), 299, b"hello"),
    "client-error": (response("418 Teapot", body=b"hello"), 418, b"hello"),
    "server-error": (response("500 Oh", body=b"hello"), 500, b"hello"),
    "reason-empty": (b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
}

# What the upstream sends before it closes, where no response can be made of it.
INVALID = {
    "garbage": b"hello\r\n\r\n",
    "another-protocol": b"SSH-2.0-OpenSSH_9\r\n",
    "binary": bytes(range(256)),
    "nothing": b"",
    "status-line-cut-short": b"HTTP/1.1 20",
    "head-cut-short": OK + b"Content-Length: 5\r\n",
    "status-not-a-number": b"HTTP/1.1 abc OK\r\n\r\n",
    "switching-unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "length-and-chunked": OK + CHUNKS + b"Content-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "two-lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length-not-a-number": OK + b"Content-Length: five\r\n\r\nhello",
    "length-negative": OK + b"Content-Length: -1\r\n\r\n",
    "nul-in-a-value": OK + b"X-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "carriage-return-in-a-value": OK + b"X-A: a\rX-B: b\r\nContent-Length: 0\r\n\r\n",
    "header-without-colon": OK + b"X-A\r\nContent-Length: 0\r\n\r\n",
    "space-before-colon": OK + b"Content-Length : 0\r\n\r\n",
    "header-name-with-space": OK + b"X A: 1\r\nContent-Length: 0\r\n\r\n",
    "huge-header": OK + b"X-A: " + b"x" * 2_000_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "endless-headers": OK + b"X-A: 1\r\n" * 100_000 + b"\r\n",
    "endless-interim": b"HTTP/1.1 102 P\r\n\r\n" * 5_000,
}

# Broken after the head: the client must see a broken transfer, never a clean short answer.
BROKEN = {
    "length-cut-short": (OK + b"Content-Length: 10\r\n\r\nhello", b"hello"),
    "length-nothing-came": (OK + b"Content-Length: 10\r\n\r\n", b""),
    "chunks-cut-off": (CHUNKED_HEAD + chunk(b"hello"), b"hello"),
    "chunk-cut-short": (CHUNKED_HEAD + b"a\r\nhello", b"hello"),
    "last-chunk-cut-short": (CHUNKED_HEAD + chunk(b"hello") + b"0\r\n", b"hello"),
    "chunk-size-garbage": (CHUNKED_HEAD + chunk(b"hello") + b"xyz\r\n", b"hello"),
}

HOP_BY_HOP = {
    "connection": (b"Connection: X-Secret, keep-alive\r\nX-Secret: hop", "X-Secret"),
    "keep-alive": (b"Keep-Alive: timeout=5", "Keep-Alive"),
    "proxy-connection": (b"Proxy-Connection: keep-alive", "Proxy-Connection"),
    "upgrade": (b"Upgrade: h2c", "Upgrade"),
    "trailer": (b"Trailer: X-T", "Trailer"),
    "te": (b"TE: trailers", "TE"),
}


@pytest.mark.parametrize("sent, status, body", WHOLE.values(), ids=WHOLE.keys())
def test_response_arrives_whole(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, sent: bytes, status: int, body: bytes
) -> None:
    upstream.script(f"/open/{name}", [send(sent), wait(0.02), close()])
    with gateway.connect() as client:
        answer = client.request("GET", f"/open/{name}")
        assert (answer.status, answer.body, answer.complete) == (status, body, True)
        assert len(answer.values("Content-Length")) + len(answer.values("Transfer-Encoding")) <= 1
        # The connection to the client stays usable, and holds nothing of the last response.
        assert client.request("GET", f"/open/{name}-next").json()["target"] == f"/open/{name}-next"
    assert b"X-T" not in answer.raw


@pytest.mark.parametrize("sent", INVALID.values(), ids=INVALID.keys())
def test_what_is_no_response_becomes_502(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, sent: bytes
) -> None:
    upstream.script(f"/patient/{name}", [send(sent), wait(0.02), close()])
    answer = gateway.request("GET", f"/patient/{name}")
    assert (answer.status, answer.error_code) in [
        (502, "upstream_invalid_response"),
        (502, "upstream_unreachable"),
    ]
    upstream.wait_until_closed(upstream.wait_for_request(f"/patient/{name}"))


@pytest.mark.parametrize("sent, got", BROKEN.values(), ids=BROKEN.keys())
def test_response_broken_off_is_a_broken_transfer(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, sent: bytes, got: bytes
) -> None:
    upstream.script(f"/patient/{name}", [send(sent), wait(0.1), close()])
    answer = gateway.request("GET", f"/patient/{name}")
    if answer.status == 502:
        # Nothing had been passed on yet: then an error is better than a broken transfer.
        assert answer.error_code == "upstream_invalid_response"
    else:
        assert (answer.status, answer.body, answer.complete) == (200, got, False)
    assert gateway.request("GET", f"/patient/{name}-next").status == 200


@pytest.mark.parametrize("line, header", HOP_BY_HOP.values(), ids=HOP_BY_HOP.keys())
def test_hop_by_hop_header_stays_with_the_upstream(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, line: bytes, header: str
) -> None:
    upstream.script(f"/open/{name}", [send(OK + line + b"\r\nContent-Length: 2\r\n\r\nok")])
    answer = gateway.request("GET", f"/open/{name}")
    assert (answer.status, answer.body, answer.values(header)) == (200, b"ok", [])


def test_ordinary_headers_arrive_byte_for_byte_and_in_order(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    lines = b'Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-Latin: caf\xe9\r\nX-Empty:\r\nETag: W/"x"\r\n'
    upstream.script(f"/open/{name}", [send(OK + lines + b"Content-Length: 0\r\n\r\n")])
    answer = gateway.request("GET", f"/open/{name}")
    assert answer.values("Set-Cookie") == [b"a=1; Path=/", b"b=2"]
    assert (answer.header("X-Latin"), answer.header("X-Empty"), answer.header("ETag")) == (
        b"caf\xe9",
        b"",
        b'W/"x"',
    )


def test_server_and_date_are_not_repeated(gateway: GatewayProcess, upstream: StubUpstream, name: str) -> None:
    lines = b"Server: stub\r\nDate: Sat, 01 Jan 2022 00:00:00 GMT\r\n"
    upstream.script(f"/open/{name}", [send(OK + lines + b"Content-Length: 0\r\n\r\n")])
    answer = gateway.request("GET", f"/open/{name}")
    assert len(answer.values("Server")) <= 1
    assert answer.values("Date") == [b"Sat, 01 Jan 2022 00:00:00 GMT"]


def test_upstream_cannot_set_the_gateways_own_headers(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    lines = b"X-Request-ID: theirs\r\nX-Trace-Id: theirs\r\nSet-Cookie: gatehouse_sessionid=theirs\r\n"
    upstream.script(f"/open/{name}", [send(OK + lines + b"Content-Length: 0\r\n\r\n")])
    answer = gateway.request("GET", f"/open/{name}", headers={"X-Request-ID": name})
    assert answer.header("X-Request-ID") == name.encode()
    assert b"theirs" not in answer.raw


@pytest.mark.parametrize(
    "sent, length",
    [
        (OK + b"Content-Length: 12345\r\n\r\n", b"12345"),
        (OK + CHUNKS + b"\r\n", None),
        (OK + b"\r\n", None),
    ],
    ids=["length", "chunked", "neither"],
)
def test_head_has_the_headers_of_get_and_no_body(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, sent: bytes, length: bytes | None
) -> None:
    upstream.script(f"/open/{name}", [send(sent)])
    with gateway.connect() as client:
        answer = client.request("HEAD", f"/open/{name}")
        assert (answer.status, answer.header("Content-Length")) == (200, length)
        assert client.request("GET", f"/open/{name}-next").status == 200


def test_bytes_behind_a_response_never_answer_the_next_request(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    poison = response(body=b"poison")
    upstream.script(f"/open/{name}", [send(response(body=b"ok") + poison)])
    upstream.script(f"/open/{name}-head", [send(response(body=b"") + poison)])
    with gateway.connect() as client:
        answer = client.request("GET", f"/open/{name}")
        # Bytes that come together with the response make the whole of it suspect.
        assert (answer.status, answer.body) == (
            200,
            b"ok",
        ) or answer.error_code == "upstream_invalid_response"
        assert client.request("HEAD", f"/open/{name}-head").status in (200, 502)
        for number in range(5):
            answer = client.request("GET", f"/open/{name}-{number}")
            assert answer.json()["target"] == f"/open/{name}-{number}"


def test_bytes_on_an_idle_connection_never_answer_the_next_request(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(f"/open/{name}", [send(response(body=b"ok")), wait(0.05), send(response(body=b"poison"))])
    with gateway.connect() as client:
        assert client.request("GET", f"/open/{name}").body == b"ok"
        assert client.is_silent(0.15)
        assert client.request("GET", f"/open/{name}-next").json()["target"] == f"/open/{name}-next"


def test_early_answer_to_an_upload_arrives_and_ends_the_connection(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(f"/large/{name}", [send(response("409 Conflict", body=b"no")), wait(0.1), close()])
    with gateway.connect() as client:
        sent = request_bytes(
            f"/large/{name}", "Content-Length: 100000000", f"X-API-Key: {ALICE_KEY}", method="PUT"
        )
        client.send(sent + b"x" * 100_000)
        answer = client.read_response()
    assert (answer.status, answer.body) == (409, b"no")


def test_connections_are_kept_and_used_again(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    for _ in range(5):
        assert gateway.request("GET", f"/open/{name}").status == 200
    assert len({request.connection for request in upstream.to(f"/open/{name}")}) == 1


@pytest.mark.parametrize(
    "sent",
    [
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["connection-close", "http-1.0"],
)
def test_connection_that_the_upstream_will_close_is_not_used_again(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, sent: bytes
) -> None:
    upstream.script(f"/open/{name}", [send(sent), wait(0.3)])
    for _ in range(2):
        assert gateway.request("GET", f"/open/{name}").body == b"ok"
    assert len({request.connection for request in upstream.to(f"/open/{name}")}) == 2
