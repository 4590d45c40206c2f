"""Start backtests and read their events, the ways a client does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from tests.services.deadline import wait_until


def start_backtest(engine: httpx.Client, **fields: Any) -> str:
    """Create a backtest and return its id."""
    answer = engine.post("/backtests", json=fields)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def wait_for_state(engine: httpx.Client, path: str, state: str) -> dict[str, Any]:
    """Poll a run until it is in this state, and return it."""

    def in_state() -> dict[str, Any] | None:
        run = engine.get(path).json()
        return run if run["state"] == state else None

    return wait_until(in_state, f"{path} is {state}")  # type: ignore[return-value]


def read_events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Parse server-sent events into the shape of the WebSocket's messages."""
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line == "":
            yield {"id": int(event["id"]), "event": event["event"], "data": json.loads(event["data"])}
            event = {}
        elif name:
            event[name] = value


def all_events(engine: httpx.Client, run: str, **options: Any) -> list[dict[str, Any]]:
    """Read the event stream of a run to its end."""
    with engine.stream("GET", f"/backtests/{run}/events", **options) as answer:
        assert answer.status_code == 200
        return list(read_events(answer.iter_lines()))
