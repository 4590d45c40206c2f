"""Read what a client wants run: a backtest, or an optimization over a grid of windows. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from examples.backtest_engine.market import walk_prices
from examples.backtest_engine.simulation import Simulation
from examples.fields import Fields

# Four hundred years of daily closes; about a second of work.
MAX_BARS = 100_000
MAX_WINDOW = 1_000
MAX_GRID_BARS = 5_000_000
MAX_GRID_PAIRS = 400
MAX_RUN_SECONDS = 3_600
RANKINGS = ("sharpe", "total_return", "max_drawdown")

MARKET_NAMES = ("symbol", "seed", "bars", "drift", "volatility", "initial_cash", "fee_bps")


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """The invented instrument and the account that trades it. One basis point of fee is 0.01 %."""

    symbol: str
    seed: int
    bars: int
    drift: float
    volatility: float
    initial_cash: float
    fee_bps: float

    def simulate(self, fast: int, slow: int) -> Simulation:
        prices = walk_prices(self.symbol, self.seed, self.drift, self.volatility)
        return Simulation(prices, self.bars, fast, slow, self.initial_cash, self.fee_bps / 10_000)


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """One run. `bars_per_second` None: as fast as the engine goes."""

    market: MarketSettings
    fast: int
    slow: int
    bars_per_second: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "strategy": "moving_average_crossover",
            **asdict(self.market),
            "fast": self.fast,
            "slow": self.slow,
            "bars_per_second": self.bars_per_second,
        }


@dataclass(frozen=True, slots=True)
class OptimizationRequest:
    """A grid: every pair of a fast and a slow window where the fast one is shorter."""

    market: MarketSettings
    fast: tuple[int, ...]
    slow: tuple[int, ...]
    rank_by: str

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(fast, slow) for fast in self.fast for slow in self.slow if fast < slow]

    def to_json(self) -> dict[str, Any]:
        return {
            "strategy": "moving_average_crossover",
            **asdict(self.market),
            "fast": list(self.fast),
            "slow": list(self.slow),
            "rank_by": self.rank_by,
        }


def read_backtest(values: dict[str, Any]) -> BacktestRequest:
    """Read a backtest; every field has a default. Raises InvalidFields."""
    fields = Fields(values, ("strategy", "fast", "slow", "bars_per_second", *MARKET_NAMES))
    _check_strategy(fields)
    market = _read_market(fields, default_bars=1_000)
    fast = fields.integer("fast", 10, 1, MAX_WINDOW)
    slow = fields.integer("slow", 30, 2, MAX_WINDOW)
    if fast >= slow:
        fields.reject("fast" if "fast" in fields else "slow", f"fast ({fast}) must be below slow ({slow})")
    pace = None
    if values.get("bars_per_second") is not None:
        pace = fields.number("bars_per_second", None, 0.1, 100_000)
        if market.bars / pace > MAX_RUN_SECONDS:
            fields.reject("bars_per_second", f"{market.bars} bars would take more than {MAX_RUN_SECONDS} s")
    fields.check()
    return BacktestRequest(market, fast, slow, pace)


def read_optimization(values: dict[str, Any]) -> OptimizationRequest:
    """Read an optimization; every field has a default. Raises InvalidFields."""
    fields = Fields(values, ("strategy", "fast", "slow", "rank_by", *MARKET_NAMES))
    _check_strategy(fields)
    request = OptimizationRequest(
        market=_read_market(fields, default_bars=1_000),
        fast=_read_windows(fields, "fast", [5, 10, 20]),
        slow=_read_windows(fields, "slow", [30, 50, 100]),
        rank_by=fields.choice("rank_by", "sharpe", RANKINGS),
    )
    fields.check()
    if not request.pairs:
        fields.reject("fast", "no fast window is below any slow one")
    if len(request.pairs) > MAX_GRID_PAIRS:
        fields.reject("fast", f"the grid has {len(request.pairs)} pairs; at most {MAX_GRID_PAIRS} are run")
    if len(request.pairs) * request.market.bars > MAX_GRID_BARS:
        fields.reject("bars", f"pairs times bars must not exceed {MAX_GRID_BARS}")
    fields.check()
    return request


def _check_strategy(fields: Fields) -> None:
    fields.choice("strategy", "moving_average_crossover", ["moving_average_crossover"])


def _read_market(fields: Fields, default_bars: int) -> MarketSettings:
    return MarketSettings(
        symbol=fields.text("symbol", "DEMO", longest=16).upper(),
        seed=fields.integer("seed", 7, 0, 2**31 - 1),
        bars=fields.integer("bars", default_bars, 2, MAX_BARS),
        drift=fields.number("drift", 0.06, -2, 2),
        volatility=fields.number("volatility", 0.25, 0, 5),
        initial_cash=fields.number("initial_cash", 10_000.0, 1, 1e9),
        fee_bps=fields.number("fee_bps", 5.0, 0, 1_000),
    )


def _read_windows(fields: Fields, name: str, default: list[int]) -> tuple[int, ...]:
    windows = fields.items(name, default, most=MAX_GRID_PAIRS)
    for number, window in enumerate(windows):
        if isinstance(window, bool) or not isinstance(window, int) or not 1 <= window <= MAX_WINDOW:
            fields.reject(f"{name}[{number}]", f"must be an integer from 1 to {MAX_WINDOW}")
            return tuple(default)
    return tuple(sorted(set(windows)))
