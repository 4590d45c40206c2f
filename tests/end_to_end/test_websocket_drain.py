"""The end of the gateway: sockets are told, nothing lingers, exit 0; and the end of an upstream."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.configuration import configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.control import PROJECT_DIR
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import RawResponse
from tests.end_to_end.raw_websocket import CLOSE, TEXT, RawWebSocket
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_connection import UpstreamConnection
from tests.end_to_end.websocket_upstream import WebSocketUpstream
from tests.services.deadline import wait_until
from tests.services.ports import free_port
from tests.services.redis import RedisServer
from tests.services.server_process import ServerProcess

DRAIN_SECONDS = 10


def start(start_gateway: StartGateway, url: str, workers: int = 1, redis_url: str = "") -> GatewayProcess:
    return start_gateway(
        configuration(
            [service("sockets", url)],
            [
                route("open", "/open", "sockets", websocket=True),
                route("events", "/events", "sockets"),
            ],
        ),
        environment={"GATEWAY_DRAIN_SECONDS": str(DRAIN_SECONDS), "GATEWAY_REDIS_URL": redis_url},
        arguments=["--workers", str(workers)],
    )


def health(gateway: GatewayProcess) -> RawResponse:
    return gateway.request("GET", "/v1/health", host="localhost")


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_closes_every_socket_with_1012_and_exits_0(
    start_gateway: StartGateway,
    sockets: WebSocketUpstream,
    redis_server: RedisServer,
    name: str,
    workers: int,
) -> None:
    gateway = start(start_gateway, sockets.url, workers, redis_server.url)
    path = f"/open/{name}/echo"
    opened = [RawWebSocket(gateway.port, path) for _ in range(20)]
    for client in opened:
        assert client.echo(TEXT, b"hello").payload == b"hello"
    began = time.monotonic()
    gateway.send_signal(signal.SIGTERM)
    frames = [client.read_frame() for client in opened]
    for client in opened:
        client.close()
    assert {(frame.opcode, frame.close_code) for frame in frames} == {(CLOSE, 1012)}
    gateway.stop()
    assert time.monotonic() - began < DRAIN_SECONDS
    for number in range(1, 21):
        assert sockets.wait_until_ended(path, number).close_code == 1012
    ended = gateway.log_records(event="ws_disconnected", path=path)
    assert [(log["close_code"], log["closed_by"]) for log in ended] == [(1012, "gateway")] * 20


def test_readiness_is_false_and_new_sockets_are_refused_while_draining(
    start_gateway: StartGateway, sockets: WebSocketUpstream, name: str
) -> None:
    gateway = start(start_gateway, sockets.url)
    with RawWebSocket(gateway.port, f"/open/{name}/flood", receive_buffer_bytes=4096) as stuck:
        # It reads nothing, so its close frame can't go out: the drain lasts as long as it is waited for.
        sockets.wait_until_flood_stops(sockets.wait_for(f"/open/{name}/flood"))
        assert health(gateway).status == 200
        gateway.send_signal(signal.SIGTERM)
        ready = wait_until(
            lambda: (answer := health(gateway)).status == 503 and answer,
            "readiness is false",
            3,
        )
        assert ready.json()["failing"] == ["draining"]
        with RawWebSocket(gateway.port, "/open/echo") as late:
            assert (late.response.status, late.response.error_code) == (503, "draining")
        assert stuck.is_open
        gateway.stop()


def test_client_that_never_reads_does_not_keep_the_gateway(
    start_gateway: StartGateway, sockets: WebSocketUpstream, name: str
) -> None:
    gateway = start(start_gateway, sockets.url)
    with RawWebSocket(gateway.port, f"/open/{name}/flood", receive_buffer_bytes=4096):
        sockets.wait_until_flood_stops(sockets.wait_for(f"/open/{name}/flood"))
        began = time.monotonic()
        gateway.stop()
        assert time.monotonic() - began < DRAIN_SECONDS


def test_event_stream_does_not_keep_the_gateway(
    start_gateway: StartGateway, start_upstream: Callable[..., StubUpstream]
) -> None:
    stub = start_upstream()

    def stream(connection: UpstreamConnection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n")
        connection.wait_for_hang_up(60)

    stub.script("/events/live", [stream])
    gateway = start(start_gateway, stub.url)
    with gateway.connect() as client:
        client.send(b"GET /events/live HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        client.read_head()
        client.read_chunk()
        # The gateway takes account of what has been under way for a second.
        assert client.is_silent(2)
        began = time.monotonic()
        gateway.stop()
        assert time.monotonic() - began < DRAIN_SECONDS


def test_killed_upstream_closes_its_clients_with_1014(
    start_gateway: StartGateway, tmp_path: Path, name: str
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.websocket_echo", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR)}
    echo = ServerProcess(command, tmp_path / "echo.log", environment)
    try:
        echo.wait_for_port(port)
        gateway = start(start_gateway, f"http://127.0.0.1:{port}")
        opened = [RawWebSocket(gateway.port, "/open/echo") for _ in range(10)]
        for client in opened:
            assert client.echo(TEXT, b"hello").payload == b"hello"
        echo.kill()
        for client in opened:
            assert client.read_frame().close_code == 1014
            client.close()
        with RawWebSocket(gateway.port, "/open/echo") as late:
            assert late.response.status == 502
    finally:
        echo.kill()


def test_a_thousand_connections_leave_nothing_behind(
    start_gateway: StartGateway, sockets: WebSocketUpstream
) -> None:
    gateway = start(start_gateway, sockets.url)
    worker = _largest_child(gateway.pid)

    def cycle(count: int) -> None:
        for number in range(count):
            with RawWebSocket(gateway.port, "/open/echo") as client:
                client.echo(TEXT, b"hello")
                if number % 3 == 0:
                    client.reset()
                elif number % 3 == 1:
                    client.send_close(1000)
                    client.read_frame()

    cycle(200)
    wait_until(lambda: _ended(gateway) >= 200, "the first connections are gone")
    before_descriptors, before_bytes = _descriptors(worker), _resident_bytes(worker)
    cycle(1000)
    wait_until(lambda: _ended(gateway) >= 1200, "all connections are gone")
    # The database and the audit spool open a few files of their own meanwhile.
    wait_until(lambda: _descriptors(worker) <= before_descriptors + 16, "the descriptors are given back")
    assert _resident_bytes(worker) - before_bytes < 8 * 1024 * 1024
    gateway.stop()


def _ended(gateway: GatewayProcess) -> int:
    return gateway.log().count('"event":"ws_disconnected"')


def _largest_child(pid: int) -> int:
    """The worker: the parent's other children are small."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max(map(int, children), key=_resident_bytes)


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_gateway_may_open_as_many_sockets_as_the_system_allows(
    start_gateway: StartGateway, sockets: WebSocketUpstream
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        gateway = start(start_gateway, sockets.url)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = Path(f"/proc/{_largest_child(gateway.pid)}/limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3] == str(hard)
    gateway.stop()
