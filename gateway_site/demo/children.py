"""Run the demo's processes in this process's own group, and leave none behind."""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

POLL_SECONDS = 0.1


class Child(NamedTuple):
    name: str
    process: "subprocess.Popen[bytes]"


class Stopped(Exception):
    """Somebody pressed Ctrl-C, closed the terminal or sent SIGTERM."""


class ChildEnded(Exception):
    """A process ended that should have gone on."""

    def __init__(self, child: Child) -> None:
        super().__init__(f"{child.name} ended by itself (exit code {child.process.returncode})")


class Children:
    """Start processes, watch them, end them together.

    They stay in the group of this process, so Ctrl-C in a terminal reaches all of them at once;
    SIGTERM reaches this process alone and is passed on.
    """

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._children: list[Child] = []
        self._stop_requests = 0
        self._requested = threading.Event()

    def obey_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._request_stop)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_requests += 1
        self._requested.set()

    def start(
        self, name: str, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> None:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=directory, env=dict(environment))
        self._children.append(Child(name, process))

    def pause(self, seconds: float = POLL_SECONDS) -> None:
        """Let time pass. Raises Stopped or ChildEnded as soon as there is reason to."""
        if self._requested.wait(seconds):
            raise Stopped
        for child in self._children:
            if child.process.poll() is not None:
                raise ChildEnded(child)

    def watch(self) -> None:
        """Return never: until Stopped or ChildEnded."""
        while True:
            self.pause()

    def stop(self) -> None:
        """SIGTERM to all; SIGKILL to who is still there after the grace, or at a second Ctrl-C."""
        for child in self._running():
            child.process.terminate()
        asked, deadline = self._stop_requests, time.monotonic() + self._grace_seconds
        while self._running() and time.monotonic() < deadline and self._stop_requests <= max(asked, 1):
            time.sleep(POLL_SECONDS / 2)
        for child in self._running():
            child.process.kill()
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(5)

    def _running(self) -> list[Child]:
        return [child for child in self._children if child.process.poll() is None]
