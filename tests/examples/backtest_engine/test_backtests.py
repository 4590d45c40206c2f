"""Backtests over REST, on a running service."""

import httpx
import pytest

from tests.examples.events import start_backtest, wait_for_state
from tests.services.deadline import wait_until


def test_empty_object_runs_to_completion_and_has_results(engine: httpx.Client) -> None:
    run = start_backtest(engine)
    done = wait_for_state(engine, f"/backtests/{run}", "completed")
    assert done["progress"] == 1.0
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    results = engine.get(f"/backtests/{run}/results").json()
    assert results["trade_count"] == len(results["trades"]) > 0
    assert results["equity_curve"][-1]["equity"] == results["equity"]
    assert results["total_return"] == pytest.approx(results["equity"] / 10_000 - 1, abs=1e-5)


def test_empty_body_works_like_an_empty_object(engine: httpx.Client) -> None:
    assert engine.post("/backtests").status_code == 201


def test_same_seed_gives_the_same_results(engine: httpx.Client) -> None:
    results = []
    for _ in range(2):
        run = start_backtest(engine, seed=99, bars=400)
        wait_for_state(engine, f"/backtests/{run}", "completed")
        results.append({**engine.get(f"/backtests/{run}/results").json(), "id": ""})
    assert results[0] == results[1]


def test_location_of_a_new_backtest_leads_to_it(engine: httpx.Client) -> None:
    answer = engine.post("/backtests", json={})
    assert engine.get(answer.headers["location"]).json()["id"] == answer.json()["id"]


def test_creator_comes_from_the_identity_header(engine: httpx.Client) -> None:
    created = engine.post("/backtests", json={}, headers={"X-User-Id": "alice"}).json()
    assert created["created_by"] == "alice"
    assert engine.post("/backtests", json={}).json()["created_by"] is None


def test_results_are_409_while_the_run_is_going_and_after_it_was_cancelled(engine: httpx.Client) -> None:
    run = start_backtest(engine, bars=1000, bars_per_second=100)
    moving = wait_until(
        lambda: (seen := engine.get(f"/backtests/{run}").json())["progress"] > 0 and seen, "progress"
    )
    assert moving["state"] == "running"
    refusal = engine.get(f"/backtests/{run}/results")
    assert refusal.status_code == 409
    assert refusal.json()["error"]["details"]["state"] == "running"
    assert engine.post(f"/backtests/{run}/cancel").json()["state"] == "cancelled"
    assert engine.get(f"/backtests/{run}/results").status_code == 409
    assert engine.post(f"/backtests/{run}/cancel").status_code == 409


def test_list_is_newest_first_cut_by_limit_and_filtered_by_state(engine: httpx.Client) -> None:
    runs = [start_backtest(engine, bars=20) for _ in range(3)]
    paced = start_backtest(engine, bars=1000, bars_per_second=10)
    for run in runs:
        wait_for_state(engine, f"/backtests/{run}", "completed")
    completed = engine.get("/backtests", params={"limit": 2, "state": "completed"}).json()
    assert [item["id"] for item in completed["items"]] == [runs[2], runs[1]]
    assert completed["total"] >= 3
    running = engine.get("/backtests", params={"state": "running"}).json()["items"]
    assert paced in [item["id"] for item in running]
    engine.post(f"/backtests/{paced}/cancel")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=ten", "state=done", "cursor=x"])
def test_wrong_filter_is_refused_naming_it(engine: httpx.Client, query: str) -> None:
    for path in ("/backtests", "/optimizations"):
        answer = engine.get(f"{path}?{query}")
        assert answer.status_code == 422
        assert list(answer.json()["error"]["details"]["fields"]) == [query.partition("=")[0]]


def test_wrong_field_is_refused_naming_it(engine: httpx.Client) -> None:
    answer = engine.post("/backtests", json={"fast": 40, "bars": "many"})
    assert answer.status_code == 422
    assert set(answer.json()["error"]["details"]["fields"]) == {"fast", "bars"}


@pytest.mark.parametrize("tail", ["", "/results", "/events"])
def test_unknown_backtest_is_404(engine: httpx.Client, tail: str) -> None:
    assert engine.get(f"/backtests/bt_000000000000{tail}").status_code == 404
    assert engine.post("/backtests/bt_000000000000/cancel").status_code == 404


def test_hard_work_leaves_the_service_answering(engine: httpx.Client) -> None:
    runs = [start_backtest(engine, bars=100_000, seed=seed) for seed in range(4)]
    assert engine.get("/health").status_code == 200
    # Were the event loop held by a run, this answer would only have come after its end.
    states = [engine.get(f"/backtests/{run}").json() for run in runs]
    assert all(seen["state"] in ("queued", "running") for seen in states)
    assert any(0 < seen["progress"] < 1 for seen in states)
    for run in runs:
        engine.post(f"/backtests/{run}/cancel")
