"""A child ends when its parent is killed, however that happens."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.services.deadline import wait_until
from tests.services.process_table import live_processes

PARENT = """
import os, signal, subprocess, sys
child = "import os, signal, time; from gateway_site.lifeline import end_with_parent;" \\
        "end_with_parent({parent}, signal.SIGTERM); print(os.getpid(), flush=True); time.sleep(60)"
running = subprocess.Popen([sys.executable, "-c", child.format(parent={parent})])
running.wait()
"""
PROJECT_DIR = Path(__file__).resolve().parent.parent.parent


def start_parent(parent: str) -> "subprocess.Popen[str]":
    code = PARENT.replace("{parent})", f"{parent})")
    return subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT_DIR, stdout=subprocess.PIPE, text=True)


def is_running(pid: int) -> bool:
    return any(process.pid == pid for process in live_processes())


def test_child_of_a_killed_parent_is_sent_the_signal() -> None:
    parent = start_parent("os.getpid()")
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(10)
    wait_until(lambda: not is_running(child), "the child has ended")
    parent.stdout.close()


def test_child_whose_parent_is_gone_already_ends_at_once() -> None:
    parent = start_parent("1")
    assert parent.stdout is not None
    assert parent.stdout.readline() == ""
    parent.wait(10)
    parent.stdout.close()
