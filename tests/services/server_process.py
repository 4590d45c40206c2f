"""Run one server program: find it, start it, wait until it answers, end it whatever happens."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.services.deadline import wait_until

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def require_program(names: Sequence[str], package: str) -> str:
    """The path of the first of `names` that is installed; else the test fails, saying what to install."""
    for name in names:
        path = shutil.which(name, path=SEARCH_PATH)
        if path:
            return path
    pytest.fail(f"{names[0]} is not installed: apt-get install {package} (make test does it)", pytrace=False)


class ServerProcess:
    """A child process with its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.log_path = log_path
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment) if environment is not None else None,
                user=user,
                # A group of its own: Ctrl-C reaches pytest alone, which then stops this in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for_port(self, port: int, timeout_seconds: float = 20.0) -> None:
        try:
            what = f"{self.process.args!r} listens on {port}"
            wait_until(lambda: self._answers(port), what, timeout_seconds)
        except AssertionError:
            self.kill()
            raise

    def _answers(self, port: int) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.process.args!r} ended with {self.process.returncode}:\n{self.log()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def pause(self) -> None:
        """Keep the process from running, as a hung host would."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self, timeout_seconds: float = 10.0, sent: signal.Signals = signal.SIGTERM) -> int:
        """End the process in order, with force after the timeout; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sent)
            try:
                self.process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.wait(10)
