"""Keep processes running, workers and one beside them: start, replace those that die, end in good order."""

import logging
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType

from gateway_site.lifeline import end_with_parent

logger = logging.getLogger("gatehouse.server")

ENDINGS = (signal.SIGTERM, signal.SIGINT)
LOOK_SECONDS = 0.1
# A worker that ends sooner than this was not able to start; it is not tried again and again at full speed.
YOUNG_SECONDS = 5.0
RESTART_SECONDS = 1.0
COMPANION_SECONDS = 15.0


class Supervisor:
    """Runs `work` in a number of forked processes until SIGTERM or SIGINT; SIGKILL takes them along."""

    def __init__(
        self,
        work: Callable[[], None],
        workers: int,
        end_seconds: float,
        start_companion: "Callable[[], subprocess.Popen[bytes]] | None" = None,
    ) -> None:
        self._work = work
        self._workers = workers
        self._end_seconds = end_seconds
        self._start_companion = start_companion
        self._companion: subprocess.Popen[bytes] | None = None
        self._companion_since = 0.0
        # A plain flag: an Event's lock may be held by the very code that the signal interrupts.
        self._ending = False
        self._context = multiprocessing.get_context("fork")
        self._running: list[tuple[BaseProcess, float]] = []

    def run(self) -> bool:
        """Return when all workers have ended; False when they could not even start."""
        for number in ENDINGS:
            signal.signal(number, self._end)
        self._look_after_companion()
        for _ in range(self._workers):
            self._start_one()
        started_once = False
        while not self._ending:
            time.sleep(LOOK_SECONDS)
            self._look_after_companion()
            for entry in [entry for entry in self._running if not entry[0].is_alive()]:
                if not self._replace(entry, may_fail=started_once):
                    self._end_all()
                    return False
            started_once = started_once or any(
                time.monotonic() - since >= YOUNG_SECONDS for _, since in self._running
            )
        self._end_all()
        return True

    def _replace(self, entry: tuple[BaseProcess, float], may_fail: bool) -> bool:
        """Put a new worker in the place of a dead one; False when it was not even able to start."""
        self._running.remove(entry)
        process, since = entry
        if self._ending:
            return True
        young = time.monotonic() - since < YOUNG_SECONDS
        if young and process.exitcode == 1 and not may_fail:
            return False  # its own words about the reason are in the log
        logger.warning("worker %s ended (%s): replaced", process.pid, _how(process.exitcode))
        if young:
            time.sleep(RESTART_SECONDS)
        if not self._ending:
            self._start_one()
        return True

    def _look_after_companion(self) -> None:
        if self._start_companion is None or self._ending:
            return
        if self._companion is not None:
            if self._companion.poll() is None or time.monotonic() - self._companion_since < YOUNG_SECONDS:
                return
            logger.warning(
                "the audit shipper %s ended (%s): replaced",
                self._companion.pid,
                _how(self._companion.returncode),
            )
        self._companion, self._companion_since = self._start_companion(), time.monotonic()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    def _start_one(self) -> None:
        process = self._context.Process(target=self._child, args=(os.getpid(),))
        # A signal between fork and the child's own handlers would be lost to it.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
        self._running.append((process, time.monotonic()))

    def _child(self, parent_pid: int) -> None:
        # Ctrl-C reaches the whole group; the worker takes the signals over when its loop runs.
        for number in ENDINGS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
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
        self._end_companion()

    def _end_companion(self) -> None:
        """After the workers, so that it still carries what they recorded last."""
        companion = self._companion
        if companion is None:
            return
        companion.terminate()
        try:
            companion.wait(COMPANION_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("the audit shipper did not stop in time: killed (its records stay in the spool)")
            companion.kill()
            companion.wait()


def _how(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit status {exitcode}"
