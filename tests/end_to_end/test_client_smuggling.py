"""Bytes that another parser might take for another request: refused by name, and nothing behind them read."""

import time
from collections.abc import Iterator

import pytest

from tests.end_to_end.answers import audited, read_all, small_gateway, statuses
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import (
    chunk,
)

CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def running(start_gateway: StartGateway, upstream: StubUpstream) -> Iterator[GatewayProcess]:
    """A gateway of this module's own: what is counted here must not be somebody else's."""
    yield (running := small_gateway(start_gateway, upstream))
    running.stop()


UPGRADES = {
    "h2c-length": (["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMA"], "POST"),
    "h2c-get": (["Upgrade: h2c", "Connection: Upgrade"], "GET"),
    "tls": (["Upgrade: TLS/1.0", "Connection: upgrade"], "PUT"),
    "websocket-post": (["Upgrade: websocket", "Connection: upgrade"], "POST"),
}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("lines, method", UPGRADES.values(), ids=UPGRADES.keys())
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
def test_body_behind_an_upgrade_is_never_a_request(
    running: GatewayProcess,
    upstream: StubUpstream,
    name: str,
    lines: list[str],
    method: str,
    chunked: bool,
    apart: bool,
) -> None:
    smuggled = request_bytes(f"/open/{name}/smuggled")
    framing = CHUNKED if chunked else f"Content-Length: {len(smuggled)}"
    body = chunk(smuggled) + b"0\r\n\r\n" if chunked else smuggled
    with running.connect() as client:
        head = request_bytes(f"/open/{name}", *lines, framing, method=method)
        if apart:
            client.send(head)
            client.send(body)
        else:
            client.send(head + body)
        answers = read_all(client)
    assert [(answer.status, answer.error_code) for answer in answers] == [(400, "bad_framing")]
    assert b"smuggled" not in upstream.received_bytes()


def test_upgrade_without_a_body_leaves_the_connection_as_it_was(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    lines = ["Upgrade: h2c", "Connection: Upgrade"]
    with running.connect() as client:
        first = request_bytes(f"/open/{name}/1", *lines, "Content-Length: 0", method="POST")
        client.send(first + request_bytes(f"/open/{name}/2", *lines) + request_bytes(f"/open/{name}/3"))
        targets = [client.read_response().json()["target"] for _ in range(3)]
    assert targets == [f"/open/{name}/{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize("lines, status", [([], 405), (["Content-Length: 3"], 400)])
def test_nothing_behind_a_connect_is_a_request(
    running: GatewayProcess, upstream: StubUpstream, name: str, lines: list[str], status: int
) -> None:
    with running.connect() as client:
        connect = request_bytes("gateway.test:80", *lines, method="CONNECT", body=b"abc")
        client.send(connect + request_bytes(f"/open/{name}"))
        assert statuses(client) == [status]
    assert upstream.to(f"/open/{name}") == []


def test_data_behind_connection_close_is_not_answered(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    for path, status in ((f"/open/{name}/first", 200), ("/nowhere-at-all", 404)):
        with running.connect() as client:
            client.send(request_bytes(path, "Connection: close") + request_bytes(f"/open/{name}/second"))
            assert statuses(client) == [status]
    assert upstream.to(f"/open/{name}/second") == []
    assert "Traceback" not in running.log()


REFUSED_HEADS = {
    "http-0.9": (b"GET /open/x\r\n\r\n", "bad_request"),
    "http-2.0": (b"GET /open/x HTTP/2.0\r\nHost: gateway.test\r\n\r\n", "bad_request"),
    "http-2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "bad_framing"),
    "http-1.2": (b"GET /open/x HTTP/1.2\r\nHost: gateway.test\r\n\r\n", "bad_framing"),
    "bare-lf": (b"GET /open/x HTTP/1.1\nHost: gateway.test\n\n", "bad_framing"),
    "bare-cr": (b"GET /open/x HTTP/1.1\r\nHost: gateway.test\rX-A: b\r\n\r\n", "bad_framing"),
    "fold": (b"GET /open/x HTTP/1.1\r\nHost: gateway.test\r\nX-A: 1\r\n 2\r\n\r\n", "bad_framing"),
    "fragment": (b"GET /open/x#y HTTP/1.1\r\nHost: gateway.test\r\n\r\n", "bad_target"),
    "other-host": (b"GET http://other.test/open/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n", "bad_host"),
    "user-in-authority": (
        b"GET http://a@gateway.test/open/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        "bad_host",
    ),
    "no-authority": (b"GET http:///open/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n", "bad_host"),
    "other-scheme": (b"GET ftp://gateway.test/open/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n", "bad_target"),
    "equal-lengths": (
        b"GET /open/x HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        "bad_framing",
    ),
    "length-and-chunks": (
        b"POST /open/x HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "bad_framing",
    ),
    "chunks-in-1.0": (
        b"POST /open/x HTTP/1.0\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "bad_framing",
    ),
    "unknown-method": (b"FETCH /open/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n", "bad_method"),
    "space-first": (b" GET /open/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n", "bad_method"),
}


@pytest.mark.parametrize("head, code", REFUSED_HEADS.values(), ids=REFUSED_HEADS.keys())
def test_what_is_no_request_of_ours_is_named_recorded_and_ends_the_connection(
    running: GatewayProcess, head: bytes, code: str
) -> None:
    with running.connect() as client:
        client.send(head)
        answer = client.read_response()
        assert answer.error_code == code
        assert client.read_until_closed() == b""
    record = running.wait_for_audit(request_id=answer.json()["error"]["request_id"])
    assert (record["decision"], record["status"]) == (code, answer.status)


LARGE_HEADS = {
    "101-fields": b"X-A: 1\r\n" * 100,
    "3000-fields": b"X-A: 1\r\n" * 3000,
    "33-kilobytes": b"X-A: " + b"a" * 33_000 + b"\r\n",
}


@pytest.mark.parametrize("fields", LARGE_HEADS.values(), ids=LARGE_HEADS.keys())
def test_head_beyond_the_limits_has_the_envelope_and_a_record(running: GatewayProcess, fields: bytes) -> None:
    head = b"GET /open/x HTTP/1.1\r\nHost: gateway.test\r\nX-Request-ID: large-%d\r\n" % len(fields)
    answer = running.exchange(head + fields + b"\r\n")
    assert (answer.status, answer.error_code) == (431, "headers_too_large")
    record = running.wait_for_audit(request_id=f"large-{len(fields)}")
    assert (record["status"], record["decision"]) == (431, "headers_too_large")


@pytest.mark.parametrize("pieces", [1, 3])
def test_method_that_is_none_is_refused_under_its_own_name_behind_another_request(
    running: GatewayProcess, upstream: StubUpstream, name: str, pieces: int
) -> None:
    first = request_bytes(f"/open/{name}", "X-Request-ID: first-of-two", "User-Agent: first-agent")
    second = request_bytes("/open/x", method="CHECKIN")
    with running.connect() as client:
        if pieces == 1:
            client.send(first + second)
            answer = client.read_response()
        else:
            client.send(first)
            answer = client.read_response()
            for position in range(0, len(second), 2):
                client.send(second[position : position + 2])
        assert answer.status == 200
        refused = client.read_response()
    assert refused.error_code == "bad_method"
    record = audited(running, request_id=refused.json()["error"]["request_id"])
    assert record["request_id"] != "first-of-two"
    assert "user_agent" not in record
    assert record["method"] in ("CHECKIN", "")


@pytest.mark.parametrize("wrong", [b"\x00\x00\x00\x00", b"GET /x HTTP/1.1\r\nA B: c\r\n\r\n"])
def test_requests_before_wrong_bytes_are_answered_and_so_are_the_wrong_bytes(
    running: GatewayProcess, upstream: StubUpstream, name: str, wrong: bytes
) -> None:
    with running.connect() as client:
        valid = request_bytes(f"/open/{name}/1") + request_bytes(f"/open/{name}/2")
        client.send(valid + wrong)
        answers = read_all(client)
    assert [answer.status for answer in answers] == [200, 200, 400]
    running.wait_for_audit(request_id=answers[2].json()["error"]["request_id"], status=400)


def test_more_requests_in_a_packet_than_may_wait_are_refused_behind_those_that_may(
    running: GatewayProcess, name: str
) -> None:
    with running.connect() as client:
        client.send(request_bytes(f"/open/{name}") * 100)
        answers = read_all(client)
    assert [answer.status for answer in answers] == [200] * (len(answers) - 1) + [400]
    assert 60 < len(answers) < 70


def test_many_requests_sent_without_waiting_are_all_answered(running: GatewayProcess, name: str) -> None:
    with running.connect() as client:
        for turn in range(10):
            # Half of them before the gateway has begun, the other half while it answers.
            client.send(request_bytes(f"/open/{name}/{turn}") * 20)
            client.send(request_bytes(f"/open/{name}/{turn}") * 20)
            targets = {client.read_response().json()["target"] for _ in range(40)}
            assert targets == {f"/open/{name}/{turn}"}


ENDLESS = {
    "empty-lines": (b"", b"\r\n" * 500),
    "header-lines": (b"GET /open/x HTTP/1.1\r\nHost: gateway.test\r\n", b"X-A: 1\r\n" * 500),
    "header-value": (b"GET /open/x HTTP/1.1\r\nHost: gateway.test\r\nX-A: ", b"a" * 4000),
    "target": (b"GET /open/", b"a" * 4000),
    "chunk-extension": (
        b"POST /open/x HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n5;",
        b"a" * 4000,
    ),
    "chunk-size": (
        b"POST /open/x HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0" * 4000,
    ),
    "trailers": (
        b"POST /open/x HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"X-A: 1\r\n" * 500,
    ),
}


@pytest.mark.parametrize("opening, more", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_cut_after_some_kilobytes(
    running: GatewayProcess, opening: bytes, more: bytes
) -> None:
    with running.connect() as client:
        client.send(opening)
        sent = 0
        while sent < 2_000_000 and client.is_silent(0):
            try:
                client.send(more)
            except (BrokenPipeError, ConnectionResetError):
                break
            sent += len(more)
            time.sleep(0.002)
        answer = client.read_response()
    assert answer.error_code in ("headers_too_large", "bad_framing")
    assert sent < 2_000_000


@pytest.mark.parametrize("together", [True, False])
def test_body_that_breaks_its_framing_is_recorded_as_that(
    running: GatewayProcess, upstream: StubUpstream, name: str, together: bool
) -> None:
    with running.connect() as client:
        head = request_bytes(f"/open/{name}", CHUNKED, method="POST")
        broken = b"5\r\nhello\r\nzz\r\n"
        if together:
            client.send(head + broken)
        else:
            client.send(head)
            client.send(b"5\r\nhello\r\n")
            upstream.wait_for_request(f"/open/{name}")
            client.send(b"zz\r\n")
        answer = client.read_response()
        assert (answer.status, answer.error_code) == (400, "bad_framing")
        assert client.read_until_closed() == b""
    record = audited(running, request_id=answer.json()["error"]["request_id"])
    assert (record["decision"], record["status"], record.get("abort")) == ("bad_framing", 400, None)


def test_refusal_of_a_large_upload_can_be_read_by_its_sender(running: GatewayProcess) -> None:
    size = 3_000_000
    with running.connect() as client:
        client.send(request_bytes("/small/x", f"Content-Length: {size}", method="POST"))
        sent = 0
        while sent < size:
            client.send(b"x" * 50_000)
            sent += 50_000
        answer = client.read_response()
    assert answer.error_code == "body_too_large"


@pytest.mark.parametrize("path, status", [("/small/x", 413), ("/nowhere", 404), ("/private/x", 401)])
def test_refused_upload_is_not_asked_to_continue(running: GatewayProcess, path: str, status: int) -> None:
    with running.connect() as client:
        client.send(request_bytes(path, "Expect: 100-continue", "Content-Length: 500", method="POST"))
        answer = client.read_response()
        assert (answer.status, answer.informational) == (status, [])
        assert client.read_until_closed() == b""
