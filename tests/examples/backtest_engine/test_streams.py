"""A run's events over server-sent events and WebSocket, on a running service."""

import contextlib
import json
from itertools import islice
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.examples.events import all_events, read_events, start_backtest, wait_for_state
from tests.examples.service_process import ServiceProcess, finish


def rest_of(socket: ClientConnection) -> list[dict[str, Any]]:
    """Read a WebSocket until it closes."""
    received = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            received.append(json.loads(socket.recv(timeout=10)))
    return received


def messages(url: str) -> tuple[list[dict[str, Any]], int | None, str | None]:
    """Read a WebSocket from start to end; return its messages, the close code and the reason."""
    with connect(url, proxy=None) as socket:
        return rest_of(socket), socket.close_code, socket.close_reason


@pytest.fixture
def stream_url(backtest_engine: ServiceProcess) -> str:
    return backtest_engine.url.replace("http", "ws") + "/backtests"


def test_events_tell_the_whole_run_in_order(engine: httpx.Client) -> None:
    run = start_backtest(engine, bars=500)
    events = all_events(engine, run)
    kinds = [event["event"] for event in events]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert (kinds[0], kinds[-1]) == ("started", "completed")
    assert kinds.count("progress") == 100
    results = engine.get(f"/backtests/{run}/results").json()
    assert [event["data"] for event in events if event["event"] == "trade"] == results["trades"]
    assert events[-2]["data"]["percent"] == 100.0


def test_both_streams_send_the_same_events(engine: httpx.Client, stream_url: str) -> None:
    run = start_backtest(engine, bars=300)
    received, code, reason = messages(f"{stream_url}/{run}/stream")
    assert received == all_events(engine, run)
    assert (code, reason) == (1000, "completed")


def test_server_sent_events_arrive_while_the_run_is_going(engine: httpx.Client) -> None:
    run = start_backtest(engine, bars=1000, bars_per_second=50)
    with engine.stream("GET", f"/backtests/{run}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        early = list(islice(read_events(answer.iter_lines()), 3))
        assert [event["event"] for event in early] == ["started", "progress", "progress"]
        assert engine.get(f"/backtests/{run}").json()["state"] == "running"
    engine.post(f"/backtests/{run}/cancel")


def test_websocket_messages_arrive_while_the_run_is_going(engine: httpx.Client, stream_url: str) -> None:
    run = start_backtest(engine, bars=1000, bars_per_second=50)
    with connect(f"{stream_url}/{run}/stream", proxy=None) as socket:
        assert [json.loads(socket.recv(timeout=10))["event"] for _ in range(2)] == ["started", "progress"]
        assert engine.get(f"/backtests/{run}").json()["state"] == "running"
        engine.post(f"/backtests/{run}/cancel")
        assert rest_of(socket)[-1]["event"] == "cancelled"
    assert (socket.close_code, socket.close_reason) == (1000, "cancelled")


def test_reader_that_comes_back_goes_on_after_its_last_event(engine: httpx.Client, stream_url: str) -> None:
    run = start_backtest(engine, bars=200)
    everything = all_events(engine, run)
    assert all_events(engine, run, headers={"Last-Event-ID": "90"}) == everything[90:]
    assert all_events(engine, run, params={"after": "90"}) == everything[90:]
    assert messages(f"{stream_url}/{run}/stream?after=90")[0] == everything[90:]


def test_position_that_is_no_event_id_is_refused(engine: httpx.Client, stream_url: str) -> None:
    run = start_backtest(engine, bars=20)
    assert engine.get(f"/backtests/{run}/events?after=-1").status_code == 422
    assert messages(f"{stream_url}/{run}/stream?after=x")[1] == 4422


def test_head_of_the_event_stream_ends_at_once(engine: httpx.Client) -> None:
    run = start_backtest(engine, bars=1000, bars_per_second=10)
    assert engine.head(f"/backtests/{run}/events").status_code == 200
    engine.post(f"/backtests/{run}/cancel")


def test_websocket_of_an_unknown_run_closes_with_4404(stream_url: str) -> None:
    assert messages(f"{stream_url}/bt_000000000000/stream")[1] == 4404


def test_what_a_client_sends_is_ignored_and_its_leaving_harms_nobody(
    engine: httpx.Client, stream_url: str
) -> None:
    run = start_backtest(engine, bars=200, bars_per_second=400)
    with connect(f"{stream_url}/{run}/stream", proxy=None) as leaver:
        leaver.send("hello")
        leaver.send(b"\x00")
        assert json.loads(leaver.recv(timeout=10))["id"] == 1
    wait_for_state(engine, f"/backtests/{run}", "completed")
    assert messages(f"{stream_url}/{run}/stream")[1] == 1000


def test_stop_of_the_service_ends_open_streams_and_exits_with_0() -> None:
    service = ServiceProcess("backtest_engine")
    run = start_backtest(service.client, bars=1000, bars_per_second=1)
    url = f"{service.url.replace('http', 'ws')}/backtests/{run}/stream"
    with connect(url, proxy=None) as socket, service.client.stream("GET", f"/backtests/{run}/events") as sse:
        events = read_events(sse.iter_lines())
        assert next(events)["event"] == json.loads(socket.recv(timeout=10))["event"] == "started"
        service.process.terminate()
        assert [event["event"] for event in events][-1] == "cancelled"
        assert rest_of(socket)[-1]["event"] == "cancelled"
    assert socket.close_code == 1012
    _, errors = finish(service.process)
    assert (service.process.returncode, errors) == (0, "")
    service.stop()
