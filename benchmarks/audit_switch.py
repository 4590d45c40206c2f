"""Serve as `manage.py gateway` does, the audit of requests switched on and off ten times a second.

Two runs of a gateway differ by more than the audit costs: on a shared machine a core's speed changes by
the second. So one process takes turns, and each turn's processor time is divided by its answers. Off means
as if there were no audit log at all: of a request there is only its line in the access log.

Usage: python -m benchmarks.audit_switch RESULT gateway --bind …  (RESULT is a file: one JSON object)
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TURN_SECONDS = 0.1
# A turn that was held up (the load paused, the process was stopped) tells nothing.
LATE_SECONDS = 0.05
REPORT_TURNS = 20
ON, OFF = "on", "off"


class Switch:
    """Which of both is on, and what each has cost so far."""

    def __init__(self, result: Path) -> None:
        self.choice = ON
        self._result = result
        self._order = [ON, OFF]
        self._turn = self._answers = 0
        self._ends = self._began = 0.0
        self._seconds, self._counts = {ON: 0.0, OFF: 0.0}, {ON: 0, OFF: 0}

    def count(self, answers: int) -> None:
        """Called before each batch of answers is recorded: here a turn begins and ends."""
        now = time.monotonic()
        if now >= self._ends:
            self._next(now)
        self._answers += answers

    def _next(self, now: float) -> None:
        clock = time.thread_time()
        if self._ends and now < self._ends + LATE_SECONDS:
            self._seconds[self.choice] += clock - self._began
            self._counts[self.choice] += self._answers
        position = self._turn % len(self._order)
        if position == 0:
            random.shuffle(self._order)
        self.choice = self._order[position]
        self._turn += 1
        if self._turn % REPORT_TURNS == 0:
            self._report()
        self._ends, self._answers, self._began = now + TURN_SECONDS, 0, time.thread_time()

    def _report(self) -> None:
        figures = {
            name: {"seconds": self._seconds[name], "answers": self._counts[name]} for name in self._order
        }
        temporary = self._result.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(figures))
        temporary.replace(self._result)


def install(switch: Switch) -> None:
    """Put the switch between the answers of a turn of the loop and their recording."""
    from routing.record import Recorder
    from routing.upstream.forward import Forwarder

    answer_ready: Callable[[Forwarder], None] = Forwarder._answer_ready
    record: Callable[..., None] = Recorder._record_repeating

    def counted(self: Forwarder) -> None:
        switch.count(len(self._ready))
        answer_ready(self)

    def switched(self: Recorder, ended: list[tuple[Any, float]], audit: Any) -> None:
        if switch.choice == ON:
            record(self, ended, audit)
        else:
            _write_lines_only(self, ended)

    Forwarder._answer_ready = counted  # type: ignore[method-assign]
    Recorder._record_repeating = switched  # type: ignore[method-assign]


def _write_lines_only(recorder: Any, ended: list[tuple[Any, float]]) -> None:
    """What `Recorder._record_repeating` does besides the audit."""
    note_key, add_completed = recorder._note_key, recorder._access_log.add_completed
    for exchange, duration_ms in ended:
        identity = exchange.identity
        if note_key is not None and identity is not None and identity.credential is not None:
            note_key(identity.credential.id, exchange.started_at)
        add_completed(
            exchange.started_at + duration_ms / 1000,
            exchange.request_id,
            exchange.method,
            exchange.path.decode("latin-1"),
            exchange.status,
            exchange.client_ip,
            duration_ms,
            True,
        )


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
    from django.core.management import execute_from_command_line

    result, *arguments = sys.argv[1:]
    install(Switch(Path(result)))
    execute_from_command_line(["manage.py", *arguments])


if __name__ == "__main__":
    main()
