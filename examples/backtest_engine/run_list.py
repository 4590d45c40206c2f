"""Keep the last runs of one kind, bounded. Memory only: they are gone when the process ends."""

from __future__ import annotations

from typing import Generic, TypeVar

from examples.backtest_engine.runs import Backtest, Optimization
from examples.errors import Busy, NotFound

R = TypeVar("R", Backtest, Optimization)


class RunList(Generic[R]):
    """The last runs: a new one pushes out the oldest that is finished."""

    def __init__(self, noun: str, capacity: int) -> None:
        self._noun = noun
        self._capacity = capacity
        self._runs: dict[str, R] = {}

    def add(self, run: R) -> None:
        """Keep a run. Raises Busy when all the kept ones are still active."""
        if len(self._runs) >= self._capacity:
            oldest = next((run.id for run in self._runs.values() if run.finished), None)
            if oldest is None:
                raise Busy()
            del self._runs[oldest]
        self._runs[run.id] = run

    def get(self, identifier: str) -> R:
        """Return the run of this id. Raises NotFound."""
        run = self._runs.get(identifier)
        if run is None:
            raise NotFound(f"There is no {self._noun} {identifier!r}.")
        return run

    def newest(self, state: str | None = None) -> list[R]:
        """Return the runs in this state, or all of them, newest first."""
        return [run for run in reversed(self._runs.values()) if state in (None, run.state)]
