"""Run one strategy over one price series, some bars at a time. Pure: the caller decides when to go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from examples.backtest_engine.crossover import Crossover
from examples.backtest_engine.performance import Performance
from examples.backtest_engine.portfolio import Portfolio, Trade

MAX_CURVE_POINTS = 500
MAX_KEPT_TRADES = 500


class Simulation:
    """A backtest in progress. `bar` counts the bars done; the last one to be done is number `bars` - 1."""

    def __init__(
        self, prices: Iterable[float], bars: int, fast: int, slow: int, cash: float, fee_rate: float = 0.0
    ) -> None:
        self.bars = bars
        self.bar = 0
        self.price = self._first_price = 0.0
        self.trade_count = 0
        self._prices: Iterator[float] = iter(prices)
        self._crossover = Crossover(fast, slow)
        self._portfolio = Portfolio(cash, fee_rate)
        self._performance = Performance(cash)
        self._cash = cash
        self._wins = self._sales = 0
        self._trades: list[Trade] = []
        self._curve: list[tuple[int, float, float]] = []
        # Rounded up, so that the curve stays within its bound whatever the number of bars.
        self._bars_per_point = -(-bars // MAX_CURVE_POINTS)

    @property
    def finished(self) -> bool:
        return self.bar >= self.bars

    @property
    def equity(self) -> float:
        return self._portfolio.equity(self.price) if self.bar else self._cash

    @property
    def invested(self) -> bool:
        return self._portfolio.invested

    def advance(self, count: int) -> list[Trade]:
        """Do up to `count` more bars and return the trades made. Raises what the price series raises."""
        trades = []
        for bar in range(self.bar, min(self.bar + count, self.bars)):
            trade = self._step(bar, next(self._prices))
            if trade is not None:
                trades.append(trade)
        return trades

    def _step(self, bar: int, price: float) -> Trade | None:
        trade = None
        wanted = self._crossover.add(price)
        if wanted and not self._portfolio.invested:
            trade = self._portfolio.buy(bar, price)
        elif not wanted and self._portfolio.invested:
            trade = self._portfolio.sell(bar, price)
        if trade is not None:
            self._keep(trade)
        if bar == 0:
            self._first_price = price
        self.bar, self.price = bar + 1, price
        equity = self._portfolio.equity(price)
        self._performance.add(equity)
        if bar % self._bars_per_point == 0 or self.finished:
            self._curve.append((bar, price, equity))
        return trade

    def _keep(self, trade: Trade) -> None:
        self.trade_count += 1
        if trade.profit is not None:
            self._sales += 1
            self._wins += trade.profit > 0
        self._trades.append(trade)
        if len(self._trades) > MAX_KEPT_TRADES:
            del self._trades[0]

    def figures(self) -> dict[str, Any]:
        """Return the figures of the bars done so far. Ratios are fractions: 0.12 is 12 %."""
        sharpe = self._performance.sharpe
        return {
            "equity": round(self.equity, 2),
            "total_return": round(self._performance.total_return, 6),
            "buy_and_hold_return": round(self.price / self._first_price - 1, 6) if self.bar else 0.0,
            "max_drawdown": round(self._performance.max_drawdown, 6),
            "sharpe": None if sharpe is None else round(sharpe, 4),
            "trade_count": self.trade_count,
            "win_rate": round(self._wins / self._sales, 4) if self._sales else None,
            "open_position": self._portfolio.invested,
        }

    def trades(self) -> list[dict[str, object]]:
        """Return the last trades, oldest first; at most MAX_KEPT_TRADES of them."""
        return [trade.to_json() for trade in self._trades]

    def curve(self) -> list[dict[str, float]]:
        """Return the equity curve, thinned to about MAX_CURVE_POINTS; the last bar is always in it."""
        return [
            {"bar": bar, "price": round(price, 4), "equity": round(equity, 2)}
            for bar, price, equity in self._curve
        ]
