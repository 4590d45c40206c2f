"""The moving averages and what their crossing says, on series short enough to do by hand."""

import pytest

from examples.backtest_engine.crossover import Crossover, MovingAverage


def test_average_is_of_the_last_prices_and_none_before_there_are_enough() -> None:
    average = MovingAverage(3)
    assert [average.add(price) for price in [3, 6, 9, 0, 3]] == [None, None, 6, 5, 4]


def test_average_stays_exact_over_many_prices_of_unlike_size() -> None:
    average = MovingAverage(2)
    average.add(1e16)
    # Each of these loses the small price in the running sum, until it is taken afresh.
    last = [average.add(0.1) for _ in range(20_000)][-1]
    assert last == pytest.approx(0.1)


def test_holds_while_the_fast_average_is_above_the_slow_one() -> None:
    crossover = Crossover(fast=1, slow=2)
    assert [crossover.add(price) for price in [10, 11, 12, 9, 8, 10]] == [
        False, True, True, False, False, True,
    ]  # fmt: skip


def test_equal_averages_change_nothing() -> None:
    crossover = Crossover(fast=1, slow=2)
    assert [crossover.add(price) for price in [10, 11, 11, 11, 10, 10]] == [
        False, True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(("fast", "slow"), [(0, 5), (5, 5), (6, 5)])
def test_windows_that_cannot_cross_are_refused(fast: int, slow: int) -> None:
    with pytest.raises(ValueError, match="fast window"):
        Crossover(fast, slow)
