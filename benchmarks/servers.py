"""Start a server process pinned to one core, wait until it answers, stop it. Knows no gateway by name."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

GATEWAY_CORE = 0
LOAD_CORE = 1
START_DEADLINE_SECONDS = 60.0
STOP_DEADLINE_SECONDS = 15.0


class ServerFailed(RuntimeError):
    """A server didn't start, died, or answered something else than it should."""


class ToolMissing(RuntimeError):
    """A program that the measurement needs isn't installed."""


@dataclass(frozen=True)
class Launch:
    """How to start one server: its command, what it adds to the environment, and where its output goes."""

    command: list[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None

    @property
    def name(self) -> str:
        return self.log.stem


@dataclass
class Server:
    """A running server process and its children, as a context manager."""

    launch: Launch
    core: int | None
    ready: Callable[[], bool]
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = self.launch.command if self.core is None else pinned(self.core, self.launch.command)
        with self.launch.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.launch.directory,
                env={**os.environ, **self.launch.environment},
                start_new_session=True,
            )
        try:
            wait_until(self._answers, START_DEADLINE_SECONDS, f"{self.launch.name} to answer")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ServerFailed("The server was never started.")
        return self.process.pid

    def stop(self) -> None:
        """Ask the whole process group to end, and make it end if it won't."""
        if self.process is None:
            return
        group = self.process.pid
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        self.process.wait()

    def processes(self) -> list[psutil.Process]:
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def resident_bytes(self) -> int:
        """Sum over the process tree; pages that processes share are counted once in each."""
        return sum(process.memory_info().rss for process in self.processes())

    def cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            tail = self.launch.log.read_text(errors="replace")[-2000:]
            raise ServerFailed(f"{self.launch.name} exited with {self.process.returncode}\n{tail}")
        return self.ready()


def pinned(core: int, command: list[str]) -> list[str]:
    return [tool("taskset"), "-c", str(core), *command]


def tool(name: str) -> str:
    """The full path of a program on the search path (system directories included)."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        raise ToolMissing(
            f"{name} is not installed: install the packages nginx, wrk, redis-server, util-linux."
        )
    return found


def free_port() -> int:
    """A port that was free a moment ago; another process may still take it first, then the start fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], deadline_seconds: float, what: str) -> float:
    """Poll until the condition holds; returns the seconds it took, raises ServerFailed after the deadline."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > deadline_seconds:
            raise ServerFailed(f"Waited {deadline_seconds:.0f} s for {what}.")
        time.sleep(0.01)
    return time.monotonic() - started


def fetch(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """One GET on a connection of its own: status and body. A refused connection is status 0."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    except http.client.HTTPException as error:
        raise ServerFailed(f"Port {port} answered something that isn't HTTP.") from error
    finally:
        connection.close()
