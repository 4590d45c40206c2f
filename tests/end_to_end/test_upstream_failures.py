"""What happens when an upstream, or the client, doesn't keep to its part."""

import select
import socket
import time
from collections.abc import Callable

import pytest

from tests.end_to_end.configuration import configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import (
    CHUNKED_HEAD,
    chunk,
    close,
    read_body,
    reset,
    response,
    send,
    send_endlessly,
    wait,
    wait_for_hang_up,
)
from tests.services.deadline import wait_until
from tests.services.process_table import memory_bytes, open_files

# /hasty waits 0.5 s for a connection, a response, and the next byte of one.
TIMEOUT_SECONDS = 0.5
LATEST_SECONDS = TIMEOUT_SECONDS + 1.0


def test_refused_connection_is_502(gateway: GatewayProcess) -> None:
    answer = gateway.request("GET", "/nowhere/x")
    assert (answer.status, answer.error_code) == (502, "upstream_unreachable")


def test_silent_upstream_is_504_at_its_timeout(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(f"/hasty/{name}", [read_body(), wait_for_hang_up()])
    started = time.monotonic()
    answer = gateway.request("GET", f"/hasty/{name}")
    took = time.monotonic() - started
    assert (answer.status, answer.error_code) == (504, "upstream_timeout")
    assert TIMEOUT_SECONDS - 0.05 <= took <= LATEST_SECONDS
    upstream.wait_until_closed(upstream.wait_for_request(f"/hasty/{name}"))
    assert len(upstream.to(f"/hasty/{name}")) == 1


def test_silence_after_half_a_head_is_504(gateway: GatewayProcess, upstream: StubUpstream, name: str) -> None:
    upstream.script(f"/hasty/{name}", [send(b"HTTP/1.1 200 OK\r\nX-A: "), wait_for_hang_up()])
    assert gateway.request("GET", f"/hasty/{name}").error_code == "upstream_timeout"


def test_silence_within_a_body_breaks_the_transfer(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(f"/hasty/{name}", [send(CHUNKED_HEAD + chunk(b"hello")), wait_for_hang_up()])
    started = time.monotonic()
    answer = gateway.request("GET", f"/hasty/{name}")
    assert (answer.status, answer.body, answer.complete) == (200, b"hello", False)
    assert time.monotonic() - started <= LATEST_SECONDS


def test_other_routes_answer_while_one_upstream_hangs(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(f"/patient/{name}", [read_body(), wait_for_hang_up()])
    clients = [gateway.connect() for _ in range(30)]
    for client in clients:
        client.send(request_bytes(f"/patient/{name}"))
    upstream.wait_for_request(f"/patient/{name}", number=30)
    started = time.monotonic()
    assert gateway.request("GET", f"/open/{name}").status == 200
    assert time.monotonic() - started < 1
    for client in clients:
        client.close()


@pytest.mark.parametrize("ending", [close(), reset()], ids=["closed", "reset"])
@pytest.mark.parametrize("method, attempts", [("GET", 2), ("POST", 1)])
def test_connection_gone_stale_is_replaced_once_for_what_may_be_repeated(
    gateway: GatewayProcess,
    upstream: StubUpstream,
    name: str,
    ending: Callable[..., None],
    method: str,
    attempts: int,
) -> None:
    path = f"/open/{name}"
    upstream.script(path, [send(response(body=b"first"))], [ending], [send(response(body=b"second"))])
    assert gateway.request("GET", path).body == b"first"
    answer = gateway.request(method, path)
    connections = [request.connection for request in upstream.to(path)]
    if connections[1] == connections[0]:
        assert len(connections) == 1 + attempts
        assert (answer.status, answer.body) == (200, b"second") or method == "POST"
    else:
        # A POST is never sent on a connection that may have gone stale.
        assert method == "POST"
    assert answer.status == (200 if method == "GET" else 502)


def test_connection_closed_while_idle_is_never_used(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    path = f"/open/{name}"
    upstream.script(
        path, [send(response(body=b"first")), close()], [read_body(), send(response(body=b"second"))]
    )
    assert gateway.request("GET", path).body == b"first"
    upstream.wait_until_closed(upstream.to(path)[0])
    assert gateway.request("POST", path, body=b"x").body == b"second"
    assert len(upstream.to(path)) == 2


def test_request_that_got_half_an_answer_is_never_repeated(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    path = f"/open/{name}"
    upstream.script(path, [send(response())], [send(b"HTTP/1.1 2"), close()], [send(response())])
    gateway.request("GET", path)
    assert gateway.request("GET", path).status == 502
    assert len(upstream.to(path)) == 2


def test_next_target_takes_over_when_one_refuses(
    start_gateway: StartGateway, upstream: StubUpstream, name: str
) -> None:
    running = start_gateway(
        configuration(
            services=[
                service("pair", "http://127.0.0.1:1", upstream.url),
                service("single", "http://127.0.0.1:1", upstream.url, retries=0),
            ],
            routes=[route("pair", "/pair", to="pair"), route("single", "/single", to="single")],
        )
    )
    # Nothing has been sent when a connection is refused, so that even a POST may go to the next target.
    answers = [running.request("POST", f"/pair/{name}", body=b"x").status for _ in range(6)]
    assert answers == [200] * 6
    assert sorted(running.request("GET", f"/single/{name}").status for _ in range(4)) == [200, 200, 502, 502]
    running.stop()


def test_pooled_connections_to_a_target_that_died_cost_no_request(
    start_gateway: StartGateway, start_upstream: Callable[..., StubUpstream]
) -> None:
    dying, living = start_upstream(), start_upstream()
    gateway = start_gateway(
        configuration(
            services=[service("stub", dying.url, living.url, retries=1)], routes=[route("open", "/open")]
        )
    )
    with gateway.connect() as client:
        for _ in range(4):
            assert client.request("GET", "/open/before").status == 200
        assert len(dying.to("/open/before")) == len(living.to("/open/before")) == 2
        dying.stop()
        for _ in range(6):
            assert client.request("GET", "/open/after").status == 200
    assert len(living.to("/open/after")) == 6
    gateway.stop()


@pytest.mark.parametrize(
    "begun", [[], [send(CHUNKED_HEAD + chunk(b"hello"))]], ids=["before-the-response", "within-the-response"]
)
@pytest.mark.parametrize("abruptly", [False, True], ids=["closed", "reset"])
def test_client_that_leaves_aborts_the_upstream_request_within_a_second(
    gateway: GatewayProcess,
    upstream: StubUpstream,
    name: str,
    begun: list[Callable[..., None]],
    abruptly: bool,
) -> None:
    upstream.script(f"/patient/{name}", [read_body(), *begun, wait_for_hang_up()])
    with gateway.connect() as client:
        client.send(request_bytes(f"/patient/{name}"))
        request = upstream.wait_for_request(f"/patient/{name}")
        if begun:
            client.read_until(b"hello")
        left_at = time.monotonic()
        if abruptly:
            client.reset()
    upstream.wait_until_closed(request)
    closed_at = upstream.connection_of(request).closed_at
    assert closed_at is not None
    assert closed_at - left_at <= 1.0


def test_reader_that_stops_stops_the_upstream_and_nobody_else(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    block = b"x" * 65_536
    upstream.script(f"/patient/{name}", [send(CHUNKED_HEAD), send_endlessly(chunk(block))])
    with gateway.connect(receive_buffer_bytes=65_536) as client:
        client.send(request_bytes(f"/patient/{name}"))
        client.read_head()
        before = memory_bytes(gateway.servers())
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            assert gateway.request("GET", f"/open/{name}").status == 200
        assert memory_bytes(gateway.servers()) - before < 8_000_000
    upstream.wait_until_closed(upstream.wait_for_request(f"/patient/{name}"))


def test_upstream_that_stops_reading_stops_the_upload(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(f"/large/{name}", [wait(5)])
    with gateway.connect(timeout_seconds=0.5) as client:
        client.send(request_bytes(f"/large/{name}", "Content-Length: 150000000", method="POST", body=b"x"))
        upstream.wait_for_request(f"/large/{name}")
        sent = 1
        while sent < 150_000_000 and select.select([], [client.stream], [], 0.5)[1]:
            sent += client.stream.send(b"x" * min(65_536, 150_000_000 - sent), socket.MSG_DONTWAIT)
        # What fits in the sockets' buffers on the way, and no more.
        assert sent < 40_000_000
        assert gateway.request("GET", f"/open/{name}").status == 200


def test_many_clients_that_leave_leave_no_open_files(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(
        f"/patient/{name}", [read_body(), send(CHUNKED_HEAD + chunk(b"hello")), wait_for_hang_up()]
    )
    gateway.request("GET", f"/open/{name}")
    before = open_files(gateway.servers())
    for _ in range(100):
        with gateway.connect() as client:
            client.send(request_bytes(f"/patient/{name}"))
            client.read_until(b"hello")
    wait_until(
        lambda: open_files(gateway.servers()) <= before + 3, "the gateway's open files are as few as before"
    )
