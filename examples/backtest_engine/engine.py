"""Run backtests and optimizations in the background, without ever holding the event loop for long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from examples.backtest_engine.market import PriceCollapsed
from examples.backtest_engine.run_list import R, RunList
from examples.backtest_engine.run_request import BacktestRequest, OptimizationRequest
from examples.backtest_engine.runs import Backtest, Optimization
from examples.backtest_engine.simulation import Simulation
from examples.errors import Conflict

logger = logging.getLogger("examples.backtest_engine")

KEPT_RUNS = 100
PARALLEL_RUNS = 4
# A paced run mostly sleeps, so it waits for a slot of another sort than one that works flat out.
PARALLEL_PACED_RUNS = 40
# About half a millisecond of work between two looks at the event loop.
SLICE_BARS = 50
# Not 0: the server's own threads need the interpreter lock for a moment to bring requests in.
REST_SECONDS = 0.0005
# A watched run moves this often; more would be events that nobody can see.
STEPS_PER_SECOND = 20
EVENTS_PER_RUN = 100


class Engine:
    """The runs of this process. Those of one sort start in their order of arrival."""

    def __init__(self, kept_runs: int = KEPT_RUNS) -> None:
        self.backtests = RunList[Backtest]("backtest", kept_runs)
        self.optimizations = RunList[Optimization]("optimization", kept_runs)
        self.stopping = False
        self._slots = asyncio.Semaphore(PARALLEL_RUNS)
        self._paced_slots = asyncio.Semaphore(PARALLEL_PACED_RUNS)
        self._tasks: set[asyncio.Task[None]] = set()

    def submit_backtest(self, request: BacktestRequest, created_by: str | None) -> Backtest:
        """Queue a backtest. Raises Busy."""
        run = Backtest(request, created_by)
        self.backtests.add(run)
        self._start(run, run_backtest, self._slots if request.bars_per_second is None else self._paced_slots)
        return run

    def submit_optimization(self, request: OptimizationRequest, created_by: str | None) -> Optimization:
        """Queue an optimization. Raises Busy."""
        run = Optimization(request, created_by)
        self.optimizations.add(run)
        self._start(run, run_optimization, self._slots)
        return run

    def cancel(self, run: Backtest | Optimization) -> None:
        """Stop a run where it stands. Raises Conflict when it has finished."""
        if run.finished:
            raise Conflict(f"{run.id} is {run.state} already.", {"state": run.state})
        run.finish("cancelled", {"progress": round(run.progress, 4)})
        if run.task is not None:
            run.task.cancel()

    async def stop(self) -> None:
        """Cancel every run, so that streams end; used once, when the process stops."""
        self.stopping = True
        runs: list[Backtest | Optimization] = [*self.backtests.newest(), *self.optimizations.newest()]
        for run in runs:
            if not run.finished:
                self.cancel(run)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, run: R, work: Callable[[R], Awaitable[None]], slots: asyncio.Semaphore) -> None:
        run.task = asyncio.create_task(_carry_out(run, work, slots))
        self._tasks.add(run.task)
        run.task.add_done_callback(self._tasks.discard)


async def _carry_out(run: R, work: Callable[[R], Awaitable[None]], slots: asyncio.Semaphore) -> None:
    try:
        async with slots:
            run.begin()
            await work(run)
    except PriceCollapsed as exc:
        run.error = str(exc)
    except Exception:
        logger.exception("%s failed", run.id)
        run.error = "internal error"
    if run.error is not None:
        run.finish("failed", {"error": run.error})


async def run_backtest(run: Backtest) -> None:
    """Simulate at the wanted pace, publishing trades and progress, and keep the results."""
    request = run.request
    pace = request.bars_per_second
    simulation = request.market.simulate(request.fast, request.slow)
    slice_bars = _slice_bars(request.market.bars, pace)
    clock = asyncio.get_running_loop().time
    began = clock()
    published = 0
    while not simulation.finished:
        for trade in simulation.advance(slice_bars):
            run.events.publish("trade", trade.to_json())
        run.progress = simulation.bar / simulation.bars
        percent = simulation.bar * EVENTS_PER_RUN // simulation.bars
        if percent > published or pace is not None:
            published = percent
            run.events.publish("progress", _position(simulation))
        ahead = 0.0 if pace is None else began + simulation.bar / pace - clock()
        await asyncio.sleep(max(REST_SECONDS, ahead))
    run.results = {**simulation.figures(), "trades": simulation.trades(), "equity_curve": simulation.curve()}
    run.finish("completed", simulation.figures())


async def run_optimization(run: Optimization) -> None:
    """Simulate every pair of the grid, one after another."""
    pairs = run.request.pairs
    for fast, slow in pairs:
        simulation = run.request.market.simulate(fast, slow)
        while not simulation.finished:
            simulation.advance(SLICE_BARS)
            run.progress = (len(run.trials) + simulation.bar / simulation.bars) / len(pairs)
            await asyncio.sleep(REST_SECONDS)
        run.trials.append({"fast": fast, "slow": slow, **simulation.figures()})
    run.finish("completed", {"trials": len(run.trials)})


def _slice_bars(bars: int, pace: float | None) -> int:
    if pace is not None:
        return max(1, min(SLICE_BARS, int(pace / STEPS_PER_SECOND)))
    return max(1, min(SLICE_BARS, bars // EVENTS_PER_RUN))


def _position(simulation: Simulation) -> dict[str, object]:
    return {
        "bar": simulation.bar,
        "bars": simulation.bars,
        "percent": round(100 * simulation.bar / simulation.bars, 2),
        "price": round(simulation.price, 4),
        **simulation.figures(),
    }
