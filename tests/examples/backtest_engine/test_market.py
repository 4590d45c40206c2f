"""The generated prices: seeded, and growing as asked."""

import math
import statistics
from itertools import islice, pairwise

import pytest

from examples.backtest_engine.market import PriceCollapsed, walk_prices


def first(count: int, symbol: str = "DEMO", seed: int = 7, drift: float = 0.0, volatility: float = 0.25):
    return list(islice(walk_prices(symbol, seed, drift, volatility), count))


def test_same_seed_gives_the_same_prices_in_every_process() -> None:
    # Written down, not computed twice here: hashing of texts differs between processes.
    assert first(4) == pytest.approx([100.0, 98.797954, 99.022245, 98.123074], abs=1e-6)


@pytest.mark.parametrize("other", [{"seed": 8}, {"symbol": "OTHER"}])
def test_other_seed_or_symbol_gives_other_prices(other: dict) -> None:
    assert first(5, **other)[1:] != first(5)[1:]


def test_price_without_volatility_grows_by_the_drift() -> None:
    assert first(253, drift=0.1, volatility=0.0)[-1] == pytest.approx(100 * math.exp(0.1))


def test_returns_have_the_volatility_asked_for() -> None:
    prices = first(50_000, volatility=0.3)
    returns = [math.log(after / before) for before, after in pairwise(prices)]
    assert statistics.stdev(returns) * math.sqrt(252) == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(("drift", "volatility"), [(0.0, 5.0), (2.0, 0.0)], ids=["to zero", "without bounds"])
def test_price_that_leaves_every_measure_is_an_error(drift: float, volatility: float) -> None:
    with pytest.raises(PriceCollapsed):
        first(100_000, drift=drift, volatility=volatility)
