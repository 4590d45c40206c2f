"""Keep worker processes running: start them, replace those that die, and end them all in good order."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType

from gateway_site.lifeline import end_with_parent

logger = logging.getLogger("gatehouse.server")

LOOK_SECONDS = 0.1
# A worker that ends sooner than this was not able to start; it is not tried again and again at full speed.
YOUNG_SECONDS = 5.0
RESTART_SECONDS = 1.0


class Supervisor:
    """Runs `work` in a number of forked processes until SIGTERM or SIGINT; SIGKILL takes them along."""

    def __init__(self, work: Callable[[], None], workers: int, end_seconds: float) -> None:
        self._work = work
        self._workers = workers
        self._end_seconds = end_seconds
        self._ending = threading.Event()
        self._context = multiprocessing.get_context("fork")
        self._running: list[tuple[BaseProcess, float]] = []

    def run(self) -> bool:
        """Return when all workers have ended; False when they could not even start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        started_once = False
        for _ in range(self._workers):
            self._start_one()
        while not self._ending.wait(LOOK_SECONDS):
            for entry in [entry for entry in self._running if not entry[0].is_alive()]:
                self._running.remove(entry)
                process, since = entry
                young = time.monotonic() - since < YOUNG_SECONDS
                if young and process.exitcode == 1 and not started_once:
                    # Its own words about the reason are in the log.
                    self._end_all()
                    return False
                logger.warning("worker %s ended (%s): replaced", process.pid, _how(process.exitcode))
                if young and self._ending.wait(RESTART_SECONDS):
                    break
                self._start_one()
            started_once = started_once or any(
                time.monotonic() - since >= YOUNG_SECONDS for _, since in self._running
            )
        self._end_all()
        return True

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending.set()

    def _start_one(self) -> None:
        process = self._context.Process(target=self._child, args=(os.getpid(),))
        process.start()
        self._running.append((process, time.monotonic()))

    def _child(self, parent_pid: int) -> None:
        # Ctrl-C reaches the whole group; the worker takes the signals over when its loop runs.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        end_with_parent(parent_pid, signal.SIGKILL)
        self._work()

    def _end_all(self) -> None:
        for process, _ in self._running:
            if process.is_alive():
                process.terminate()
        deadline = time.monotonic() + self._end_seconds
        for process, _ in self._running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                logger.warning("worker %s did not end in time: killed", process.pid)
                process.kill()
                process.join()


def _how(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit status {exitcode}"
