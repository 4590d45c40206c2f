"""Optimizations over REST, on a running service."""

import httpx

from tests.examples.events import wait_for_state
from tests.services.deadline import wait_until


def start_optimization(engine: httpx.Client, **fields: object) -> str:
    answer = engine.post("/optimizations", json=fields)
    assert answer.status_code == 201
    return f"/optimizations/{answer.json()['id']}"


def test_grid_is_run_and_ranked(engine: httpx.Client) -> None:
    path = start_optimization(engine, fast=[5, 10], slow=[20, 40], bars=300, rank_by="total_return")
    done = wait_for_state(engine, path, "completed")
    assert (done["trials"], done["trials_done"], done["progress"]) == (4, 4, 1.0)
    ranking = engine.get(f"{path}/results").json()
    assert {(trial["fast"], trial["slow"]) for trial in ranking["results"]} == {
        (5, 20), (5, 40), (10, 20), (10, 40),
    }  # fmt: skip
    returns = [trial["total_return"] for trial in ranking["results"]]
    assert returns == sorted(returns, reverse=True)
    assert ranking["best"] == ranking["results"][0]


def test_trial_has_the_figures_of_the_same_backtest(engine: httpx.Client) -> None:
    path = start_optimization(engine, fast=[7], slow=[21], bars=300, seed=3)
    wait_for_state(engine, path, "completed")
    trial = engine.get(f"{path}/results").json()["best"]
    run = engine.post("/backtests", json={"fast": 7, "slow": 21, "bars": 300, "seed": 3}).json()["id"]
    wait_for_state(engine, f"/backtests/{run}", "completed")
    results = engine.get(f"/backtests/{run}/results").json()
    assert trial["sharpe"] == results["sharpe"]
    assert trial["equity"] == results["equity"]


def test_running_optimization_has_no_results_and_can_be_cancelled(engine: httpx.Client) -> None:
    path = start_optimization(engine, bars=100_000, fast=[5, 6, 7, 8, 9])
    wait_until(lambda: engine.get(path).json()["progress"] > 0, "progress")
    assert engine.get(f"{path}/results").status_code == 409
    assert engine.post(f"{path}/cancel").json()["state"] == "cancelled"
    assert engine.post(f"{path}/cancel").status_code == 409
    assert engine.get(f"{path}/results").json()["state"] == "cancelled"


def test_list_is_filtered_by_state(engine: httpx.Client) -> None:
    path = start_optimization(engine, bars=50)
    wait_for_state(engine, path, "completed")
    listed = engine.get("/optimizations", params={"state": "completed", "limit": 1}).json()["items"]
    assert [f"/optimizations/{run['id']}" for run in listed] == [path]


def test_unknown_optimization_is_404(engine: httpx.Client) -> None:
    assert engine.get("/optimizations/opt_0/results").status_code == 404
    assert engine.post("/optimizations/opt_0/cancel").status_code == 404


def test_wrong_window_is_refused_naming_its_place(engine: httpx.Client) -> None:
    answer = engine.post("/optimizations", json={"fast": [5, 0]})
    assert answer.status_code == 422
    assert list(answer.json()["error"]["details"]["fields"]) == ["fast[1]"]
