"""What a client may ask for: defaults, bounds, and the field that is named when it is wrong."""

from typing import Any

import pytest

from examples.backtest_engine.run_request import read_backtest, read_optimization
from examples.errors import InvalidFields


def test_empty_backtest_has_sane_defaults() -> None:
    request = read_backtest({}).to_json()
    assert (request["fast"], request["slow"], request["bars"]) == (10, 30, 1_000)
    assert request["bars_per_second"] is None


def test_optimization_runs_every_pair_with_a_shorter_fast_window_once() -> None:
    request = read_optimization({"fast": [20, 5, 5], "slow": [20, 10]})
    assert request.pairs == [(5, 10), (5, 20)]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        pytest.param({"fast": 30}, "fast", id="fast equals slow"),
        pytest.param({"slow": 10}, "slow", id="slow equals the default of fast"),
        pytest.param({"fast": 0}, "fast", id="no window"),
        pytest.param({"slow": 1001}, "slow", id="window too long"),
        pytest.param({"bars": 1}, "bars", id="one bar"),
        pytest.param({"bars": 100_001}, "bars", id="too many bars"),
        pytest.param({"bars": "500"}, "bars", id="bars as text"),
        pytest.param({"seed": -1}, "seed", id="negative seed"),
        pytest.param({"symbol": ""}, "symbol", id="empty symbol"),
        pytest.param({"symbol": "A" * 17}, "symbol", id="long symbol"),
        pytest.param({"initial_cash": 0}, "initial_cash", id="no cash"),
        pytest.param({"volatility": -0.1}, "volatility", id="negative volatility"),
        pytest.param({"fee_bps": 1001}, "fee_bps", id="fee too high"),
        pytest.param({"bars_per_second": 0}, "bars_per_second", id="no pace"),
        pytest.param({"bars_per_second": 0.2}, "bars_per_second", id="longer than an hour"),
        pytest.param({"strategy": "martingale"}, "strategy", id="unknown strategy"),
        pytest.param({"windows": 3}, "windows", id="unknown field"),
    ],
)
def test_wrong_backtest_names_the_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFields) as refusal:
        read_backtest(values)
    assert list(refusal.value.details["fields"]) == [field]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        pytest.param({"fast": []}, "fast", id="empty grid"),
        pytest.param({"fast": 5}, "fast", id="no list"),
        pytest.param({"fast": [5, "6"]}, "fast[1]", id="window as text"),
        pytest.param({"slow": [True]}, "slow[0]", id="boolean window"),
        pytest.param({"fast": [50], "slow": [20]}, "fast", id="no pair left"),
        pytest.param({"fast": list(range(1, 31)), "slow": list(range(31, 61))}, "fast", id="too many pairs"),
        pytest.param(
            {"bars": 100_000, "fast": list(range(1, 21)), "slow": [30, 40, 50]}, "bars", id="too much"
        ),
        pytest.param({"rank_by": "luck"}, "rank_by", id="unknown figure"),
        pytest.param({"bars_per_second": 5}, "bars_per_second", id="no pace for a grid"),
    ],
)
def test_wrong_optimization_names_the_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFields) as refusal:
        read_optimization(values)
    assert list(refusal.value.details["fields"]) == [field]
