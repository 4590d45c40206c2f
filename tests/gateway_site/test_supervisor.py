"""Workers that die, can't start or won't end, in a process of their own; no Django in it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.deadline import wait_until
from tests.services.process_table import family

PROJECT_DIR = Path(__file__).resolve().parents[2]
SERVING = "import signal, sys, time; {before}; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(60)"
PROGRAM = """
import logging, sys
from gateway_site.supervisor import Supervisor
logging.basicConfig(level="INFO")
def work():
    exec({work!r})
sys.exit(0 if Supervisor(work, {workers}, {end_seconds}).run() else 1)
"""


class Supervised:
    def __init__(self, work: str, workers: int = 2, end_seconds: float = 5.0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(work=work, workers=workers, end_seconds=end_seconds)],
            cwd=PROJECT_DIR,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def workers(self) -> list[int]:
        return [each.pid for each in family(self.process.pid) if each.pid != self.process.pid]

    def wait_for_workers(self, count: int) -> list[int]:
        wait_until(lambda: len(self.workers()) == count, f"{count} workers")
        return self.workers()

    def wait(self) -> tuple[int, str]:
        _, log = self.process.communicate(timeout=20)
        return self.process.returncode, log


@pytest.fixture
def supervised() -> Iterator[list[Supervised]]:
    started: list[Supervised] = []
    yield started
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
        assert each.process.stderr is not None
        if not each.process.stderr.closed:
            each.process.communicate()


def test_worker_that_is_killed_is_replaced(supervised: list[Supervised]) -> None:
    supervised.append(running := Supervised(SERVING.format(before="pass")))
    killed, other = running.wait_for_workers(2)
    os.kill(killed, signal.SIGKILL)
    wait_until(
        lambda: killed not in running.workers() and len(running.workers()) == 2, "another in its place"
    )
    assert other in running.workers()
    running.process.terminate()
    code, log = running.wait()
    assert code == 0
    assert f"worker {killed} ended (SIGKILL): replaced" in log


def test_worker_that_can_not_start_ends_it_all(supervised: list[Supervised]) -> None:
    supervised.append(running := Supervised("import sys; sys.exit(1)"))
    code, _ = running.wait()
    assert code == 1
    assert running.workers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("to_group", [False, True], ids=["parent", "group"])
def test_signal_ends_all_in_order_however_often_it_comes(
    supervised: list[Supervised], number: signal.Signals, times: int, to_group: bool
) -> None:
    ignoring = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    supervised.append(running := Supervised(SERVING.format(before=ignoring)))
    workers = running.wait_for_workers(2)
    # They are seen before they have handlers of their own.
    wait_until(lambda: all(_catches_term(pid) for pid in workers), "the workers' own handlers")
    for _ in range(times):
        if to_group:
            os.killpg(running.process.pid, number)
        else:
            os.kill(running.process.pid, number)
    code, log = running.wait()
    assert (code, "Traceback" in log) == (0, False)


def _catches_term(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.split("SigIgn:")[1].split()[0], 16)
    return bool(caught & 1 << signal.SIGINT - 1)


def test_worker_that_will_not_end_is_killed(supervised: list[Supervised]) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    supervised.append(running := Supervised(stubborn, workers=1, end_seconds=0.5))
    (worker,) = running.wait_for_workers(1)

    def ignores() -> bool:
        ignored = Path(f"/proc/{worker}/status").read_text().split("SigIgn:")[1].split()[0]
        return bool(int(ignored, 16) & 1 << signal.SIGTERM - 1)

    wait_until(ignores, "it ignores SIGTERM")
    running.process.terminate()
    code, log = running.wait()
    assert code == 0
    assert f"worker {worker} did not end in time: killed" in log


def test_killed_parent_leaves_no_worker(supervised: list[Supervised]) -> None:
    supervised.append(running := Supervised(SERVING.format(before="pass")))
    workers = running.wait_for_workers(2)
    running.process.kill()
    running.process.wait()
    wait_until(lambda: not any(_is_alive(pid) for pid in workers), "the workers are gone")


def _is_alive(pid: int) -> bool:
    return bool(family(pid))
