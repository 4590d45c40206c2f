"""`make run`: what a newcomer gets, keeps, and gets rid of."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.demo_run import DemoRun, free_service_ports
from tests.services.deadline import wait_until
from tests.services.ports import free_port


class Demonstrations:
    """Runs of one demo: the same data, ports and directory each time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = free_service_ports()
        self.bind_port = free_port()
        self.runs: list[DemoRun] = []

    def start(self) -> DemoRun:
        self.runs.append(DemoRun(self.directory, self.ports, self.bind_port, len(self.runs) + 1))
        return self.runs[-1]


@pytest.fixture
def demonstrations(tmp_path: Path) -> Iterator[Demonstrations]:
    made = Demonstrations(tmp_path)
    yield made
    for run in made.runs:
        run.kill()


def run_curl(line: str) -> tuple[int, str]:
    """Run a printed curl line; its status and body."""
    command = [*shlex.split(line), "--silent", "--no-include", "--write-out", "\n%{http_code}"]
    command = [part for part in command if part not in ("-i", "--no-include")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_printed_lines_work_and_ctrl_c_leaves_no_process(demonstrations: Demonstrations) -> None:
    run = demonstrations.start()
    run.wait_until_ready()
    create, listing, refused = [run_curl(line) for line in run.curl_lines()]
    assert create[0] in (201, 202), create
    assert json.loads(create[1])["id"] in listing[1]
    assert (listing[0], refused[0]) == (200, 401)
    assert json.loads(refused[1])["error"]["code"] == "credential_missing"
    assert _may_sign_in(run.field("Admin"), run.field("User"), run.field("Password"))

    run.stop(signal.SIGINT, whole_group=True)
    assert run.processes() == []
    assert "Traceback" not in run.output
    assert "Warning" not in run.output


def test_second_run_keeps_the_data_and_sigterm_ends_it(demonstrations: Demonstrations) -> None:
    first = demonstrations.start()
    first.wait_until_ready()
    key, password = first.field("API key"), first.field("Password")
    first.stop(signal.SIGTERM, whole_group=False)
    assert first.processes() == []

    second = demonstrations.start()
    second.wait_until_ready()
    assert key not in second.output
    assert password not in second.output
    assert "create_key demo" in second.field("API key")
    assert "create_admin --reset" in second.field("Password")
    answer = httpx.get(f"{second.url}/backtests", headers={"X-API-Key": key}, trust_env=False)
    assert answer.status_code == 200
    assert _may_sign_in(second.field("Admin"), second.field("User"), password)


def test_taken_port_is_named_and_nothing_starts(demonstrations: Demonstrations) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", demonstrations.ports[9003]))
        listener.listen(1)
        run = demonstrations.start()
        assert run.process.wait(60) != 0
    assert f"127.0.0.1:{demonstrations.ports[9003]}, needed by the example service products" in run.output
    assert "ready on" not in run.output
    assert run.processes() == []


def test_end_of_a_service_ends_everything_and_is_said(demonstrations: Demonstrations) -> None:
    run = demonstrations.start()
    run.wait_until_ready()
    fleet = next(process for process in run.processes() if process.command.split()[1:3] == ["-m", "examples"])
    os.kill(fleet.pid, signal.SIGKILL)
    assert run.process.wait(60) != 0
    assert "the example services ended by itself" in run.output
    wait_until(lambda: not run.processes(), "every process of the run has ended")


def _may_sign_in(admin_url: str, name: str, password: str) -> bool:
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        page = client.get(f"{admin_url}login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token is not None
        data = {"username": name, "password": password, "csrfmiddlewaretoken": token.group(1)}
        headers = {"Referer": str(page.url)}
        answer = client.post(f"{admin_url}login/", data=data | {"next": admin_url}, headers=headers)
        return answer.status_code == 200 and not str(answer.url).endswith("/login/")
