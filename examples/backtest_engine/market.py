"""Generate the prices of an invented instrument: a seeded geometric random walk. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

BARS_PER_YEAR = 252
FIRST_PRICE = 100.0


class PriceCollapsed(Exception):
    """The walk fell to a price too small to trade at."""


def walk_prices(symbol: str, seed: int, drift: float, volatility: float) -> Iterator[float]:
    """Yield daily closes without end; the same arguments give the same series in every process.

    Drift and volatility are per year: 0.05 and 0.25 are 5 % and 25 %. Raises PriceCollapsed.
    """
    source = random.Random(f"{symbol}/{seed}")  # noqa: S311 - a price series, not a secret
    step = 1 / BARS_PER_YEAR
    # The half variance makes `drift` the growth of the expected price (Ito's correction).
    mean, spread = (drift - volatility**2 / 2) * step, volatility * math.sqrt(step)
    price = FIRST_PRICE
    while True:
        yield price
        price *= math.exp(mean + spread * source.gauss(0, 1))
        if price < 1e-9:
            raise PriceCollapsed(f"the price of {symbol} fell to zero: lower the volatility or the bars")
        if price > 1e100:
            raise PriceCollapsed(f"the price of {symbol} grew beyond all bounds: lower the drift or the bars")
