"""The strategy's arithmetic: known prices give known trades, return, drawdown and Sharpe ratio."""

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.backtest_engine.simulation import MAX_CURVE_POINTS, MAX_KEPT_TRADES, Simulation

# With windows 1 and 2: buys at 11, sells at 9, buys again at 10.
PRICES = [10.0, 11.0, 12.0, 9.0, 8.0, 10.0]
EQUITY = [1100.0, 1100.0, 1200.0, 900.0, 900.0, 900.0]


def simulate(prices: list[float], cash: float = 1100.0, fee_rate: float = 0.0) -> Simulation:
    return Simulation(prices, len(prices), fast=1, slow=2, cash=cash, fee_rate=fee_rate)


def test_known_prices_give_known_trades() -> None:
    trades = simulate(PRICES).advance(100)
    assert [(t.bar, t.side, t.price, t.quantity, t.cash, t.profit) for t in trades] == [
        (1, "buy", 11.0, 100.0, 0.0, None),
        (3, "sell", 9.0, 100.0, 900.0, -200.0),
        (5, "buy", 10.0, 90.0, 0.0, None),
    ]


def test_known_prices_give_known_equity() -> None:
    simulation = simulate(PRICES)
    simulation.advance(100)
    assert [point["equity"] for point in simulation.curve()] == EQUITY


def test_known_prices_give_known_figures() -> None:
    simulation = simulate(PRICES)
    simulation.advance(100)
    figures = simulation.figures()
    assert figures["equity"] == 900.0
    assert figures["total_return"] == pytest.approx(-200 / 1100, abs=1e-6)
    # From 1200 down to 900.
    assert figures["max_drawdown"] == 0.25
    assert figures["buy_and_hold_return"] == 0.0
    assert (figures["trade_count"], figures["win_rate"], figures["open_position"]) == (3, 0.0, True)


def test_sharpe_is_the_yearly_mean_over_the_deviation_of_the_returns_per_bar() -> None:
    simulation = simulate(PRICES)
    simulation.advance(100)
    before = [1100.0, *EQUITY]
    returns = [after / earlier - 1 for earlier, after in zip(before, EQUITY, strict=False)]
    expected = statistics.mean(returns) / statistics.stdev(returns) * math.sqrt(252)
    assert simulation.figures()["sharpe"] == pytest.approx(expected, abs=1e-4)


def test_profitable_round_trip_counts_as_a_win() -> None:
    simulation = simulate([10.0, 20.0, 40.0, 30.0])
    sale = simulation.advance(100)[-1]
    assert sale.profit == pytest.approx(550.0)
    assert simulation.figures()["win_rate"] == 1.0


def test_fee_is_paid_on_the_value_of_each_trade() -> None:
    simulation = simulate([9.0, 10.0, 12.0, 10.0], cash=1010.0, fee_rate=0.01)
    buy, sell = simulation.advance(100)
    assert (buy.quantity, buy.fee) == (pytest.approx(100), pytest.approx(10))
    assert (sell.fee, sell.cash) == (pytest.approx(10), pytest.approx(990))
    assert sell.profit == pytest.approx(-20)


def test_flat_prices_make_no_trade_and_have_no_sharpe() -> None:
    simulation = simulate([5.0] * 50)
    assert simulation.advance(100) == []
    figures = simulation.figures()
    assert (figures["total_return"], figures["max_drawdown"], figures["sharpe"]) == (0.0, 0.0, None)
    assert figures["win_rate"] is None


def test_fewer_bars_than_the_slow_window_make_no_trade() -> None:
    simulation = Simulation([1.0, 2.0, 3.0], 3, fast=2, slow=4, cash=100)
    assert simulation.advance(100) == []
    assert simulation.finished


def test_last_bar_is_in_the_curve_and_the_curve_is_bounded() -> None:
    bars = 12_345
    simulation = Simulation((1.0 + bar % 7 for bar in range(bars)), bars, fast=1, slow=2, cash=100)
    simulation.advance(bars)
    curve = simulation.curve()
    assert curve[-1]["bar"] == bars - 1
    assert len(curve) <= MAX_CURVE_POINTS + 1


def test_only_the_last_trades_are_kept_but_all_are_counted() -> None:
    bars = 4 * MAX_KEPT_TRADES
    simulation = Simulation((1.0 + bar % 2 for bar in range(bars)), bars, fast=1, slow=2, cash=100)
    made = simulation.advance(bars)
    assert simulation.figures()["trade_count"] == len(made) > MAX_KEPT_TRADES
    assert simulation.trades() == [trade.to_json() for trade in made[-MAX_KEPT_TRADES:]]


def test_account_that_lost_everything_stays_at_zero() -> None:
    bars = 4_000
    simulation = Simulation((1.0 + bar % 2 for bar in range(bars)), bars, 1, 2, cash=100, fee_rate=0.1)
    simulation.advance(bars)
    figures = simulation.figures()
    assert (figures["equity"], figures["total_return"], figures["max_drawdown"]) == (0.0, -1.0, 1.0)


prices = st.lists(st.floats(min_value=0.01, max_value=1e6), min_size=2, max_size=60)


@settings(max_examples=60, deadline=None)
@given(prices=prices, step=st.integers(1, 7), fee_rate=st.floats(0, 0.1))
def test_slices_change_nothing_and_figures_stay_possible(
    prices: list[float], step: int, fee_rate: float
) -> None:
    whole = simulate(prices, fee_rate=fee_rate)
    sliced = simulate(prices, fee_rate=fee_rate)
    at_once = whole.advance(len(prices))
    by_and_by = []
    while not sliced.finished:
        by_and_by += sliced.advance(step)
    assert by_and_by == at_once
    assert sliced.figures() == whole.figures()
    assert whole.equity >= 0
    assert 0 <= whole.figures()["max_drawdown"] <= 1
    assert [trade.side for trade in at_once] == (["buy", "sell"] * len(prices))[: len(at_once)]
