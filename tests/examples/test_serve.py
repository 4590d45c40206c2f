"""Starting and stopping one service: its command line, its port, signals, its parent's end."""

import signal
import socket
import subprocess

import pytest

from tests.examples.service_process import ServiceProcess, finish, start
from tests.services.ports import free_port


def test_help_names_the_options_and_the_default_port() -> None:
    process = start("examples.orders", "--help")
    output, _ = finish(process)
    assert process.returncode == 0
    assert "--port" in output
    assert "9002" in output


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_port_that_is_none_is_refused(port: str) -> None:
    process = start("examples.orders", "--port", port)
    _, errors = finish(process)
    assert process.returncode == 2
    assert f"'{port}' is not a port" in errors


def test_taken_port_is_refused_with_a_message(orders_service: ServiceProcess) -> None:
    process = start("examples.users", "--port", str(orders_service.port))
    _, errors = finish(process)
    assert process.returncode == 1
    assert errors == f"users: cannot listen on 127.0.0.1:{orders_service.port}: Address already in use\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_a_service_with_exit_code_0(number: signal.Signals) -> None:
    port = free_port()
    process = start("examples.products", "--port", str(port))
    assert process.stdout is not None
    assert process.stdout.readline() == f"products ready on http://127.0.0.1:{port}\n"
    process.send_signal(number)
    assert finish(process) == ("", "")
    assert process.returncode == 0


def test_supervised_service_ignores_ctrl_c_and_stops_when_its_input_ends() -> None:
    service = ServiceProcess("products")
    service.process.send_signal(signal.SIGINT)
    assert service.client.get("/health").status_code == 200
    with pytest.raises(subprocess.TimeoutExpired):
        service.process.wait(0.2)
    service.client.close()
    assert service.process.stdin is not None
    service.process.stdin.close()
    service.process.stdin = None
    _, errors = finish(service.process)
    assert (service.process.returncode, errors) == (0, "")


def test_client_that_uploads_for_ever_does_not_hold_up_the_stop() -> None:
    service = ServiceProcess("products")
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"POST /products HTTP/1.1\r\nHost: service\r\nContent-Length: 100\r\n\r\n{")
        assert service.client.get("/health").status_code == 200
        service.stop()
    assert service.process.returncode == 0
