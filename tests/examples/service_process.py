"""Run `python -m examples...` as a child process on free ports, and stop it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.services.deadline import wait_until
from tests.services.ports import free_port

PROJECT_DIR = Path(__file__).resolve().parent.parent.parent
ATTEMPTS = 3


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a module in a session of its own, its output in pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout_seconds: float = 15.0) -> tuple[str, str]:
    """Wait for the end of a process and return its output and errors; kill it when it takes too long."""
    try:
        return process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


def discard(process: subprocess.Popen[str]) -> None:
    """Kill a process that may have ended already, and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


class ServiceProcess:
    """One example service that answers. It ends with this process, even when that is killed."""

    def __init__(self, name: str) -> None:
        for _ in range(ATTEMPTS):
            self.port = free_port()
            self.url = f"http://127.0.0.1:{self.port}"
            self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=10)
            self.process = start(f"examples.{name}", "--port", str(self.port), "--supervised")
            wait_until(self._answers_or_ended, f"{name} answers", timeout_seconds=20)
            if self.process.poll() is None:
                return
            # Between finding a port and binding it somebody else may have taken it: another one will do.
            _, errors = self.stop()
        raise AssertionError(f"{name} does not start: {errors}")

    def _answers_or_ended(self) -> bool:
        try:
            return self.client.get("/health").is_success
        except httpx.TransportError:
            return self.process.poll() is not None

    def stop(self) -> tuple[str, str]:
        """Ask it to stop and return what it printed."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return finish(self.process)
