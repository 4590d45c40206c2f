"""Measure an equity curve as it grows: return, maximum drawdown, Sharpe ratio. Pure, constant memory."""

from __future__ import annotations

import math

from examples.backtest_engine.market import BARS_PER_YEAR


class Performance:
    """Figures of the equity added so far; the first value is the starting capital."""

    def __init__(self, start: float) -> None:
        self._start = self._last = self._peak = start
        self.max_drawdown = 0.0
        # Welford's running mean and sum of squares: one pass, no list of returns.
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0

    def add(self, equity: float) -> None:
        self._peak = max(self._peak, equity)
        self.max_drawdown = max(self.max_drawdown, 1 - equity / self._peak)
        # An account that has lost everything stays where it is.
        change = equity / self._last - 1 if self._last > 0 else 0.0
        self._last = equity
        self._count += 1
        distance = change - self._mean
        self._mean += distance / self._count
        self._squares += distance * (change - self._mean)

    @property
    def total_return(self) -> float:
        return self._last / self._start - 1

    @property
    def sharpe(self) -> float | None:
        """Mean over sample deviation of the returns per bar, a year's worth; None when nothing varied."""
        if self._count < 2 or self._squares <= 0:
            return None
        deviation = math.sqrt(self._squares / (self._count - 1))
        return self._mean / deviation * math.sqrt(BARS_PER_YEAR)
