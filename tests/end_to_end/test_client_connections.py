"""What a client can do to its connection: cut its requests anywhere, leave, never read."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.end_to_end.answers import audited, read_all, small_gateway
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import RawClient, RawResponse, request_bytes
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
    yield (running := small_gateway(start_gateway, upstream))
    running.stop()


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
