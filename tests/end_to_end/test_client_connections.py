"""What a client can do to its connection: break requests in two, run them together, leave, never read."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.end_to_end.configuration import ALICE_KEY, BOB_KEY, configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import ConnectionEnded, RawClient, RawResponse, request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import (
    CHUNKED_HEAD,
    chunk,
    read_body,
    response,
    send,
    wait_for_hang_up,
)
from tests.services.deadline import wait_until
from tests.services.process_table import memory_bytes, open_files

CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def running(start_gateway: StartGateway, upstream: StubUpstream) -> Iterator[GatewayProcess]:
    """A gateway of this module's own: what is counted here must not be somebody else's."""
    services = [
        service("stub", upstream.url),
        service("patient", upstream.url, timeouts={"connect": 2, "response": 30, "idle": 30}),
    ]
    routes = [
        route("open", "/open"),
        route("patient", "/patient", to="patient"),
        route("small", "/small", max_body_bytes=100),
        route("private", "/private", access="authenticated"),
    ]
    running = start_gateway(configuration(services, routes))
    yield running
    running.stop()


def read_all(client: RawClient) -> list[RawResponse]:
    """Every response until the gateway closes."""
    found = []
    try:
        while True:
            found.append(client.read_response())
    except (ConnectionEnded, ConnectionResetError):
        return found


def audited(running: GatewayProcess, **fields: object) -> dict[str, Any]:
    """All that the audit has to say of a request."""
    record: dict[str, Any] = json.loads(running.wait_for_audit(**fields)["body"])
    return record


def statuses(client: RawClient) -> list[int]:
    return [answer.status for answer in read_all(client)]


# --- one stream of bytes, however it is cut -------------------------------------------------------


def _stream(name: str) -> bytes:
    """Requests of every framing, one behind the other."""
    return b"".join(
        [
            request_bytes(f"/open/{name}/1", "X-A: one "),
            request_bytes(f"/open/{name}/2", "Content-Length: 5", method="POST", body=b"hello"),
            b"\r\n" + request_bytes(f"/open/{name}/3?q=1", "X-Empty:", "X-B:\ttab\t"),
            request_bytes(
                f"/open/{name}/4",
                CHUNKED,
                method="PUT",
                body=b"2;x=y\r\nab\r\n3\r\ncde\r\n0\r\nX-Trailer: t\r\n\r\n",
            ),
            request_bytes(f"/open/{name}/5", "Content-Length: 0", method="DELETE"),
            request_bytes(f"/open/{name}/6", "Connection: close"),
        ]
    )


def _described(answers: list[RawResponse]) -> list[object]:
    """What the upstream said it got, without what is new in each request."""
    described = []
    for answer in answers:
        assert answer.status == 200, answer.raw
        seen = json.loads(answer.body)
        seen["headers"] = [
            [name, value]
            for name, value in seen["headers"]
            if name not in ("x-request-id", "x-trace-id", "traceparent")
        ]
        described.append(seen)
    return described


def _framings_equal(one: list[object], other: list[object]) -> None:
    """A body that came later may go up in chunks: the rest is the same byte for byte."""

    def plain(seen: object) -> object:
        assert isinstance(seen, dict)
        framing = ("content-length", "transfer-encoding")
        return seen | {"headers": [field for field in seen["headers"] if field[0] not in framing]}

    assert [plain(seen) for seen in one] == [plain(seen) for seen in other]


def test_requests_in_one_packet_reach_the_upstream_as_those_in_single_bytes(
    running: GatewayProcess, name: str
) -> None:
    stream = _stream(name)
    with running.connect() as client:
        client.send(stream)
        at_once = _described(read_all(client))
    with running.connect() as client:
        for position in range(len(stream)):
            client.send(stream[position : position + 1])
        in_bytes = _described(read_all(client))
    assert len(at_once) == 6
    assert [seen["body"] for seen in at_once] == ["", "hello", "", "abcde", "", ""]  # type: ignore[index]
    _framings_equal(at_once, in_bytes)


def test_requests_cut_anywhere_are_the_same_requests(running: GatewayProcess, name: str) -> None:
    stream = _stream(name)
    with running.connect() as client:
        client.send(stream)
        whole = _described(read_all(client))
    for cut in range(1, len(stream), 7):
        with running.connect() as client:
            client.send(stream[:cut])
            client.send(stream[cut:])
            _framings_equal(whole, _described(read_all(client)))


def test_trailer_never_becomes_a_field_of_the_next_request(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    body = b"0\r\nX-API-Key: stolen\r\nX-Next: yes\r\n\r\n"
    with running.connect() as client:
        client.send(request_bytes(f"/open/{name}/1", CHUNKED, method="POST", body=body))
        client.send(request_bytes(f"/open/{name}/2"))
        assert [client.read_response().status for _ in range(2)] == [200, 200]
        client.send(request_bytes(f"/private/{name}"))
        assert client.read_response().error_code == "credential_missing"
    for number in (1, 2):
        assert b"x-next" not in upstream.wait_for_request(f"/open/{name}/{number}").head


# --- smuggling ------------------------------------------------------------------------------------

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
    second = request_bytes("/open/x", method="FETCH")
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
    assert record["method"] in ("FETCH", "")


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


# --- bodies that break ----------------------------------------------------------------------------


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


# --- what is remembered of a connection -----------------------------------------------------------


def test_headers_that_differ_by_one_byte_are_other_headers(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    same = request_bytes(f"/open/{name}", "X-Request-ID: one", "Cookie: a=1", "Authorization: Basic YTpi")
    for change in (b"", b"", b"one->two", b"a=1->a=2", b"YTpi->YTpj"):
        before, _, after = change.partition(b"->")
        with running.connect() as client:
            seen = []
            for sent in (same, same.replace(before, after) if change else same, same):
                client.send(sent)
                seen.append(
                    [
                        field
                        for field in client.read_response().json()["headers"]
                        if field[0] in ("cookie", "authorization", "x-request-id")
                    ]
                )
        assert seen[0] == seen[2] != []
        assert (seen[1] == seen[0]) == (change == b"")
        assert after.decode() in json.dumps(seen[1])


def test_each_request_of_a_connection_is_decided_for_its_own_key(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    asked: list[str | None] = [ALICE_KEY, BOB_KEY, None, ALICE_KEY, ALICE_KEY, "wrong", BOB_KEY, None]
    with running.connect() as client:
        answers = [
            client.request("GET", f"/private/{name}", {} if key is None else {"X-API-Key": key})
            for key in asked[:5]
        ]
        answers.append(client.request("GET", f"/private/{name}", {"X-API-Key": "wrong"}))
        answers += [
            client.request("GET", f"/private/{name}", {} if key is None else {"X-API-Key": key})
            for key in asked[6:]
        ]
    names = []
    for answer in answers:
        fields = dict(answer.json().get("headers", []))
        names.append(fields.get("x-user-name", answer.status))
    assert names == ["alice", "bob", 401, "alice", "alice", 401, "bob", 401]


def test_requests_of_many_connections_at_once_keep_their_own_identity(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    clients = [running.connect() for _ in range(40)]
    try:
        for turn in range(10):
            for number, client in enumerate(clients):
                key = ALICE_KEY if (number + turn) % 2 else BOB_KEY
                client.send(request_bytes(f"/private/{name}?n={number}-{turn}", f"X-API-Key: {key}"))
            for number, client in enumerate(clients):
                seen = client.read_response().json()
                assert seen["target"] == f"/private/{name}?n={number}-{turn}"
                expected = "alice" if (number + turn) % 2 else "bob"
                assert dict(seen["headers"])["x-user-name"] == expected
    finally:
        for client in clients:
            client.close()


def test_key_revoked_between_two_equal_requests_of_a_connection_is_refused(
    running: GatewayProcess, name: str
) -> None:
    secret = running.issue_key("alice", name=f"revoked-{name}")
    with running.connect() as client:
        sent = request_bytes(f"/private/{name}", f"X-API-Key: {secret}")
        for _ in range(3):
            client.send(sent)
            assert client.read_response().status == 200
        running.execute(
            "from accounts.models import ApiKey\nfrom django.utils import timezone\n"
            "key = ApiKey.objects.get(name=key_name)\nkey.revoked_at = timezone.now()\n"
            "key.save(update_fields=['revoked_at'])",
            key_name=f"revoked-{name}",
        )
        client.send(sent)
        assert client.read_response().error_code == "credential_invalid"


# --- clients that leave ---------------------------------------------------------------------------


def _leave(client: RawClient, reset: bool) -> None:
    if reset:
        client.reset()
    else:
        client.close()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("behind", [b"", b"GET /open/behind HTTP/1.1\r\nHost: gateway.test\r\n\r\n"])
@pytest.mark.parametrize("warm", [False, True], ids=["new-upstream", "pooled-upstream"])
def test_client_that_leaves_while_the_upstream_works_ends_its_work(
    running: GatewayProcess, upstream: StubUpstream, name: str, reset: bool, behind: bytes, warm: bool
) -> None:
    if warm:
        assert running.request("GET", f"/patient/{name}-warm").status == 200
    upstream.script(f"/patient/{name}", [read_body(), wait_for_hang_up()])
    with running.connect() as client:
        client.send(request_bytes(f"/patient/{name}") + behind)
        request = upstream.wait_for_request(f"/patient/{name}")
        left_at = time.monotonic()
        _leave(client, reset)
        upstream.wait_until_closed(request)
    connection = upstream.connection_of(request)
    assert connection.closed_at is not None
    assert connection.closed_at - left_at < 1.5
    record = audited(running, path=f"/patient/{name}")
    assert (record["abort"], record["status"]) == ("client_left", 499)
    assert upstream.to("/open/behind") == []


def test_client_that_leaves_in_mid_answer_ends_the_upstreams(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(f"/patient/{name}", [send(CHUNKED_HEAD + chunk(b"first")), wait_for_hang_up()])
    with running.connect() as client:
        client.send(request_bytes(f"/patient/{name}"))
        assert client.read_head().status == 200
        request = upstream.wait_for_request(f"/patient/{name}")
        client.reset()
    upstream.wait_until_closed(request, 1.5)
    assert audited(running, path=f"/patient/{name}")["abort"] == "client_left"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_client_that_leaves_with_its_request_is_recorded_once(
    running: GatewayProcess, upstream: StubUpstream, name: str, method: str
) -> None:
    """Request and reset may come to the gateway in one turn of its loop, or in two."""
    for number in range(20):
        running.request("GET", f"/open/{name}-warm")
        with running.connect() as client:
            path = f"/open/{name}/{number}"
            client.send(request_bytes(path, "Content-Length: 2", method=method, body=b"ab"))
            client.reset()
    # What was read was either answered into the void or seen to have no reader: never twice, never otherwise.
    running.request("GET", f"/open/{name}/last")
    running.wait_for_audit(path=f"/open/{name}/last")
    records = running.audit_records(path__startswith=f"/open/{name}/")
    by_path = [record["path"] for record in records]
    assert len(by_path) == len(set(by_path))
    assert {record["decision"] for record in records} <= {"allow"}
    assert {record["status"] for record in records} <= {200, 499}
    assert "Traceback" not in running.log()


def test_answers_that_nobody_reads_do_not_gather(running: GatewayProcess, upstream: StubUpstream) -> None:
    """A client that asks on and on, and never reads."""
    upstream.script("/open/heavy", [read_body(), send(response(body=b"x" * 50_000))])
    for _ in range(3):
        running.request("GET", "/open/heavy")
    before = memory_bytes(running.servers())
    with running.connect(receive_buffer_bytes=4096) as client:
        client.stream.settimeout(0.5)
        asked = 0
        request = request_bytes("/open/heavy", "X-Pad: " + "p" * 500)
        deadline = time.monotonic() + 5
        try:
            while asked < 3000 and time.monotonic() < deadline:
                client.stream.sendall(request)
                asked += 1
        except (TimeoutError, ConnectionError):
            pass
        served = len(upstream.to("/open/heavy"))
        assert memory_bytes(running.servers()) - before < 20_000_000, f"{asked} asked, {served} served"
        # The gateway works for nobody any more.
        assert served < 1500


def test_abused_connections_leave_nothing_behind(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    abuses: list[Callable[[RawClient], None]] = [
        lambda client: None,
        lambda client: client.send(b"GET /open/"),
        lambda client: client.send(request_bytes("/open/abused")),
        lambda client: client.send(request_bytes("/open/abused") * 5),
        lambda client: client.send(
            request_bytes("/open/abused", "Content-Length: 50", method="POST", body=b"ab")
        ),
        lambda client: client.send(
            request_bytes("/open/abused", CHUNKED, method="POST", body=b"2\r\nab\r\n")
        ),
        lambda client: client.send(request_bytes("/private/abused") + b"\x00"),
        lambda client: client.send(request_bytes("/small/abused", "Content-Length: 500", method="POST")),
        lambda client: client.send(request_bytes("/open/abused", "Upgrade: h2c", "Connection: upgrade")),
        lambda client: client.send(b"\r\n" * 10),
    ]

    def round_of(count: int) -> None:
        for number in range(count):
            with running.connect() as client:
                abuses[number % len(abuses)](client)
                if number % 3 == 0:
                    client.reset()
                elif number % 3 == 1:
                    client.stream.shutdown(1)

    round_of(400)
    assert running.request("GET", f"/open/{name}").status == 200
    wait_until(lambda: open_files(running.servers()) < 120, "descriptors settle")
    time.sleep(0.2)
    files, memory = open_files(running.servers()), memory_bytes(running.servers())
    round_of(2000)
    assert running.request("GET", f"/open/{name}").status == 200
    wait_until(lambda: open_files(running.servers()) <= files + 5, "descriptors are as few as before")
    assert memory_bytes(running.servers()) - memory < 8_000_000
