"""All services at once: one command, one process group, one end."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from examples.fleet import SERVICES
from tests.examples.service_process import discard, finish, start
from tests.services.deadline import wait_until
from tests.services.ports import free_port


class Fleet:
    """`python -m examples` on free ports, all of it answering."""

    def __init__(self) -> None:
        self.ports = {service.name: free_port() for service in SERVICES}
        options = [text for service in SERVICES for text in (service.option, str(self.ports[service.name]))]
        self.process = start("examples", *options)
        assert self.process.stdout is not None
        self.lines = {self.process.stdout.readline() for _ in SERVICES}

    def nobody_listens(self) -> bool:
        return all(not listens(port) for port in self.ports.values())


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def children(pid: int) -> dict[str, int]:
    """The process ids below a process, by the name of their service."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,pgid=,args=", "--ppid", str(pid)], capture_output=True, text=True
    )
    rows = [
        re.fullmatch(r"\s*(\d+)\s+(\d+) .* -m examples\.(\w+) .*", row) for row in listed.stdout.splitlines()
    ]
    assert all(row is not None and int(row[2]) == pid for row in rows), listed.stdout
    return {row[3]: int(row[1]) for row in rows if row is not None}


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    running = Fleet()
    yield running
    discard(running.process)


def test_one_command_starts_all_in_its_process_group_and_sigterm_stops_them(fleet: Fleet) -> None:
    assert fleet.lines == {f"{name} ready on http://127.0.0.1:{port}\n" for name, port in fleet.ports.items()}
    with httpx.Client(trust_env=False) as client:
        for port in fleet.ports.values():
            assert client.get(f"http://127.0.0.1:{port}/health").json() == {"status": "ok"}
    assert set(children(fleet.process.pid)) == set(fleet.ports)
    fleet.process.terminate()
    assert finish(fleet.process) == ("all services stopped\n", "")
    assert fleet.process.returncode == 0
    assert fleet.nobody_listens()


def test_ctrl_c_reaches_the_whole_group_and_still_ends_with_0(fleet: Fleet) -> None:
    os.killpg(fleet.process.pid, signal.SIGINT)
    assert finish(fleet.process) == ("all services stopped\n", "")
    assert fleet.process.returncode == 0


def test_death_of_one_service_is_said_and_stops_the_others(fleet: Fleet) -> None:
    os.kill(children(fleet.process.pid)["orders"], signal.SIGKILL)
    _, errors = finish(fleet.process)
    assert errors == "orders ended by itself with exit code -9: stopping all services\n"
    assert fleet.process.returncode == 1
    assert fleet.nobody_listens()


def test_services_do_not_outlive_a_killed_command(fleet: Fleet) -> None:
    fleet.process.kill()
    wait_until(fleet.nobody_listens, "the services have stopped")


def test_taken_port_is_named_and_nothing_is_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = [text for service in SERVICES for text in (service.option, str(free_port()))]
        process = start("examples", *free, "--products-port", str(port))
        output, errors = finish(process)
    assert process.returncode == 1
    assert output == ""
    assert f"products: cannot listen on 127.0.0.1:{port}: Address already in use" in errors
    assert "--products-port" in errors
