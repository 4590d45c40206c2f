"""What is known of a run (a backtest or an optimization), its states, and how it is shown."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from examples.backtest_engine.event_log import EventLog
from examples.backtest_engine.run_request import BacktestRequest, OptimizationRequest
from examples.errors import Conflict

FINISHED = ("completed", "failed", "cancelled")
STATES = ("queued", "running", *FINISHED)

Req = TypeVar("Req", bound=BacktestRequest | OptimizationRequest)


class Run(Generic[Req]):
    """One run and where it stands. Its events say every change of state, the last one included."""

    prefix = "run"

    def __init__(self, request: Req, created_by: str | None) -> None:
        self.id = f"{self.prefix}_{secrets.token_hex(6)}"
        self.request: Req = request
        self.created_by = created_by
        self.created_at = _now()
        self.started_at: str | None = None
        self.finished_at: str | None = None
        self.state = "queued"
        self.progress = 0.0
        self.error: str | None = None
        self.events = EventLog()
        self.task: asyncio.Task[None] | None = None

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    def begin(self) -> None:
        self.state, self.started_at = "running", _now()
        self.events.publish("started", {"run": self.id, "request": self.request.to_json()})

    def finish(self, state: str, data: Mapping[str, Any]) -> None:
        """Enter a final state; one that is there already stays."""
        if self.finished:
            return
        self.state, self.finished_at = state, _now()
        self.events.publish(state, {"run": self.id, **data})
        self.events.close()

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "state": self.state,
            "progress": round(self.progress, 4),
            "created_at": self.created_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "created_by": self.created_by,
            "error": self.error,
            "request": self.request.to_json(),
        }


class Backtest(Run[BacktestRequest]):
    prefix = "bt"
    results: Mapping[str, Any] | None = None

    def require_results(self) -> Mapping[str, Any]:
        """Return the results. Raises Conflict while there are none, and for ever if it did not complete."""
        if self.results is None:
            raise _no_results(self)
        return self.results


class Optimization(Run[OptimizationRequest]):
    prefix = "opt"

    def __init__(self, request: OptimizationRequest, created_by: str | None) -> None:
        super().__init__(request, created_by)
        self.trials: list[dict[str, Any]] = []

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "trials_done": len(self.trials), "trials": len(self.request.pairs)}

    def ranked(self) -> list[dict[str, Any]]:
        """Return the trials, best first. Raises Conflict while running, or when it failed.

        A cancelled optimization ranks the trials it got to.
        """
        if self.state not in ("completed", "cancelled"):
            raise _no_results(self)
        figure = self.request.rank_by
        # A drawdown is better small; a Sharpe ratio that does not exist ranks last.
        sign = -1 if figure == "max_drawdown" else 1

        def merit(trial: dict[str, Any]) -> float:
            value: float | None = trial[figure]
            return float("-inf") if value is None else sign * value

        ordered = sorted(self.trials, key=merit, reverse=True)
        return [{"rank": place, **trial} for place, trial in enumerate(ordered, start=1)]


def _no_results(run: Backtest | Optimization) -> Conflict:
    why = run.state if run.error is None else f"{run.state}: {run.error}"
    return Conflict(f"No results, {run.id} is {why}.", {"state": run.state, "progress": run.progress})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
