"""Workers of a real gateway under load: killed, told to end twice, interrupted as a group."""

import os
import signal
import threading

from tests.end_to_end.configuration import configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import ConnectionEnded, request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import read_body, response, send, wait_for
from tests.services.deadline import wait_until
from tests.services.process_table import family


def small_configuration(url: str) -> dict[str, object]:
    return configuration([service("stub", url)], [route("open", "/open")])


def worker_of(running: GatewayProcess) -> int:
    """The only worker's process id."""
    (worker,) = [process.pid for process in running.servers() if process.pid != running.pid]
    return worker


def test_worker_killed_under_load_is_replaced(
    start_gateway: StartGateway, upstream: StubUpstream, name: str
) -> None:
    running = start_gateway(small_configuration(upstream.url))
    stopping = threading.Event()

    def ask_on() -> None:
        while not stopping.is_set():
            try:
                running.request("GET", f"/open/{name}")
            except (OSError, ConnectionEnded):
                stopping.wait(0.02)

    askers = [threading.Thread(target=ask_on) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(2):
            killed = worker_of(running)
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: _answers(running, name), "another worker answers", 30)
            assert worker_of(running) != killed
    finally:
        stopping.set()
        for asker in askers:
            asker.join()
    running.stop()


def _answers(running: GatewayProcess, name: str) -> bool:
    try:
        return running.request("GET", f"/open/{name}/again").status == 200
    except (OSError, ConnectionEnded):
        return False


def test_signals_that_come_again_spoil_nothing(
    start_gateway: StartGateway, upstream: StubUpstream, name: str
) -> None:
    running = start_gateway(small_configuration(upstream.url))
    go_on = threading.Event()
    upstream.script(f"/open/{name}", [read_body(), wait_for(go_on), send(response(body=b"finished"))])
    with running.connect() as client, running.connect() as idle:
        client.send(request_bytes(f"/open/{name}"))
        upstream.wait_for_request(f"/open/{name}")
        assert idle.request("GET", f"/open/{name}-other").status == 200
        running.send_signal(signal.SIGTERM)
        # The idle one is closed when the drain has begun.
        assert idle.read_until_closed() == b""
        # Ctrl-C reaches every process of the group; and an impatient supervisor asks again.
        os.killpg(running.pid, signal.SIGINT)
        running.send_signal(signal.SIGTERM)
        go_on.set()
        answer = client.read_response()
        assert (answer.status, answer.body) == (200, b"finished")
        assert answer.header("Connection") == b"close"
        assert client.read_until_closed() == b""
    running.stop()


def test_parent_that_is_killed_takes_its_workers_along(
    start_gateway: StartGateway, upstream: StubUpstream
) -> None:
    running = start_gateway(small_configuration(upstream.url))
    worker = worker_of(running)
    os.kill(running.pid, signal.SIGKILL)
    running.server.process.wait(10)
    wait_until(lambda: not family(worker), "the worker is gone")
