"""The engine: order, slots, cancelling, failing, and the bounds of what it keeps."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from examples.backtest_engine import engine as engine_module
from examples.backtest_engine.engine import Engine
from examples.backtest_engine.run_request import BacktestRequest, read_backtest, read_optimization
from examples.backtest_engine.runs import Backtest, Optimization
from examples.errors import Busy, Conflict, NotFound

PACED = {"bars": 1_000, "bars_per_second": 10}


def backtest(**fields: Any) -> BacktestRequest:
    return read_backtest({"bars": 50, **fields})


def with_engine(scenario: Callable[[Engine], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """Run a scenario with an engine that is stopped afterwards."""

    async def run() -> Any:
        engine = Engine(**options)
        try:
            return await asyncio.wait_for(scenario(engine), 10)
        finally:
            await engine.stop()

    return asyncio.run(run())


async def ended(run: Backtest) -> str:
    assert run.task is not None
    await asyncio.wait([run.task])
    return run.state


async def running(run: Backtest | Optimization) -> None:
    """Give way until the run has begun; the scenario's deadline ends a wait in vain."""
    while run.state != "running":
        await asyncio.sleep(0)


def test_run_that_cannot_go_on_fails_and_says_why() -> None:
    async def scenario(engine: Engine) -> None:
        run = engine.submit_backtest(backtest(volatility=5, bars=100_000), None)
        assert await ended(run) == "failed"
        assert run.error is not None
        assert "fell to zero" in run.error
        assert run.events.since(0)[-1].kind == "failed"
        with pytest.raises(Conflict, match="fell to zero"):
            run.require_results()

    with_engine(scenario)


def test_crash_of_a_run_fails_it_without_showing_the_cause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(bars: int, pace: float | None) -> int:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(engine_module, "_slice_bars", crash)

    async def scenario(engine: Engine) -> None:
        run = engine.submit_backtest(backtest(), None)
        assert await ended(run) == "failed"
        assert run.error == "internal error"

    with_engine(scenario)
    assert "the disk is on fire" in caplog.text


def test_runs_beyond_the_slots_wait_in_the_queue_and_can_be_cancelled_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_module, "PARALLEL_PACED_RUNS", 1)

    async def scenario(engine: Engine) -> None:
        first = engine.submit_backtest(backtest(**PACED), None)
        second = engine.submit_backtest(backtest(**PACED), None)
        third = engine.submit_backtest(backtest(**PACED), None)
        await running(first)
        assert [run.state for run in (first, second, third)] == ["running", "queued", "queued"]
        engine.cancel(second)
        engine.cancel(first)
        assert await ended(first) == await ended(second) == "cancelled"
        await running(third)
        assert second.started_at is None

    with_engine(scenario)


def test_paced_runs_leave_the_others_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "PARALLEL_RUNS", 1)

    async def scenario(engine: Engine) -> None:
        for _ in range(5):
            engine.submit_backtest(backtest(**PACED), None)
        assert await ended(engine.submit_backtest(backtest(), None)) == "completed"

    with_engine(scenario)


def test_new_run_pushes_out_the_oldest_finished_one_and_no_active_one() -> None:
    async def scenario(engine: Engine) -> None:
        active = engine.submit_backtest(backtest(**PACED), None)
        done = engine.submit_backtest(backtest(), None)
        await ended(done)
        newest = engine.submit_backtest(backtest(**PACED), None)
        assert engine.backtests.newest() == [newest, active]
        with pytest.raises(NotFound):
            engine.backtests.get(done.id)
        with pytest.raises(Busy):
            engine.submit_backtest(backtest(), None)

    with_engine(scenario, kept_runs=2)


def test_stopping_cancels_every_run_and_ends_its_events() -> None:
    async def scenario(engine: Engine) -> None:
        paced = engine.submit_backtest(backtest(**PACED), None)
        grid = engine.submit_optimization(read_optimization({"bars": 100_000}), None)
        await running(paced)
        await running(grid)
        await engine.stop()
        assert (paced.state, grid.state) == ("cancelled", "cancelled")
        assert paced.events.closed
        assert paced.events.since(0)[-1].kind == "cancelled"

    with_engine(scenario)


def test_cancelled_optimization_ranks_the_trials_it_got_to() -> None:
    async def scenario(engine: Engine) -> None:
        grid = engine.submit_optimization(read_optimization({"bars": 20_000}), None)
        while len(grid.trials) < 2:
            await asyncio.sleep(0)
        engine.cancel(grid)
        assert [trial["rank"] for trial in grid.ranked()] == [1, 2]

    with_engine(scenario)


@pytest.mark.parametrize(
    ("rank_by", "best_first"),
    [("sharpe", [2.0, 1.0, None]), ("total_return", [0.3, 0.1, -0.1]), ("max_drawdown", [0.0, 0.2, 0.4])],
)
def test_trials_are_ranked_best_first(rank_by: str, best_first: list[float | None]) -> None:
    async def scenario(engine: Engine) -> None:
        grid = engine.submit_optimization(read_optimization({"bars": 50, "rank_by": rank_by}), None)
        assert grid.task is not None
        await asyncio.wait([grid.task])
        grid.trials = [{rank_by: best_first[place]} for place in (1, 2, 0)]
        assert [trial[rank_by] for trial in grid.ranked()] == best_first

    with_engine(scenario)
