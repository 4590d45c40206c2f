"""Tell the workers that the end is near before granian ends them, as it cuts WebSockets without a word.

    parent   SIGTERM -> SIGUSR1 to every worker -> waits for their marks to go -> granian's own shutdown
    worker   SIGUSR1 -> readiness false, no new sockets, 1012 to the open ones -> takes its mark away

A mark is an empty file named by process id: workers may be forked or spawned, and files work for both.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from django.conf import settings

logger = logging.getLogger("gatehouse.draining")

POLL_SECONDS = 0.02


class DrainState:
    """Whether this process has been told to drain; readiness looks at it."""

    def __init__(self) -> None:
        self.announced = False
        self._task: asyncio.Task[None] | None = None

    def listen(self, drain: Callable[[float], Awaitable[bool]]) -> None:
        """Have `drain` called at SIGUSR1, with the seconds it may take. In a worker, on its event loop."""
        if threading.current_thread() is not threading.main_thread():
            return  # a server of another kind: it has no parent that would announce anything
        mark = _mark_of(os.getpid())
        mark.parent.mkdir(mode=0o750, exist_ok=True)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._begin, drain, mark)
        mark.touch()

    def _begin(self, drain: Callable[[float], Awaitable[bool]], mark: Path) -> None:
        if not self.announced:
            self.announced = True
            self._task = asyncio.ensure_future(self._run(drain, mark))

    async def _run(self, drain: Callable[[float], Awaitable[bool]], mark: Path) -> None:
        try:
            if not await drain(settings.GATEWAY_DRAIN_SECONDS):
                logger.warning("WebSockets were still open at the end of the drain time")
        finally:
            mark.unlink(missing_ok=True)


state = DrainState()


def ignore_announcements() -> None:
    """In the parent, before it has workers: one that isn't listening yet must not die of the signal."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def announce(workers: Iterable[int], seconds: float) -> None:
    """Tell these processes to drain; returns when all have, or when the seconds are over."""
    waiting = [pid for pid in workers if _mark_of(pid).exists()]
    for pid in waiting:
        try:
            os.kill(pid, signal.SIGUSR1)
        except ProcessLookupError:
            _mark_of(pid).unlink(missing_ok=True)
    deadline = time.monotonic() + seconds
    while any(_mark_of(pid).exists() and _lives(pid) for pid in waiting) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for pid in waiting:
        _mark_of(pid).unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        # A worker that was killed stays a zombie until granian looks at it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()


def _mark_of(pid: int) -> Path:
    return Path(settings.GATEWAY_DATA_DIR) / "run" / f"sockets-{pid}"
