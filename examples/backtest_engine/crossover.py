"""The moving-average crossover: hold while the fast average is above the slow one. Pure."""

from __future__ import annotations

from collections import deque


class MovingAverage:
    """The mean of the last `window` prices, None until there are that many."""

    def __init__(self, window: int) -> None:
        self._prices: deque[float] = deque()
        self._window = window
        self._sum = 0.0
        # Adding and subtracting leaves rounding errors behind; a fresh sum now and then drops them.
        self._until_fresh = 10_000

    def add(self, price: float) -> float | None:
        self._prices.append(price)
        self._sum += price
        if len(self._prices) > self._window:
            self._sum -= self._prices.popleft()
        self._until_fresh -= 1
        if self._until_fresh == 0:
            self._sum = sum(self._prices)
            self._until_fresh = 10_000
        return self._sum / self._window if len(self._prices) == self._window else None


class Crossover:
    """Say after each price whether to hold. Equal averages change nothing."""

    def __init__(self, fast: int, slow: int) -> None:
        if not 1 <= fast < slow:
            raise ValueError("the fast window must be at least 1 and shorter than the slow one")
        self._fast = MovingAverage(fast)
        self._slow = MovingAverage(slow)
        self.holds = False

    def add(self, price: float) -> bool:
        fast, slow = self._fast.add(price), self._slow.add(price)
        if fast is not None and slow is not None and fast != slow:
            self.holds = fast > slow
        return self.holds
