"""The ClickHouse sink and the answers it gives, against the engine itself (chdb)."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditlog.api.questions import Question
from auditlog.sinks.clickhouse import ClickHouseSink, find_records
from auditlog.sinks.sink import SinkUnavailable
from tests.auditlog.clickhouse_server import ClickHouseServer
from tests.auditlog.frames import make_frames


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    server = ClickHouseServer(Path(tmp_path_factory.mktemp("clickhouse")))
    yield server
    server.close()


@pytest.fixture
def sink(server: ClickHouseServer, settings: Any) -> Iterator[ClickHouseSink]:
    server.session.query("DROP TABLE IF EXISTS gatehouse_audit")
    settings.GATEWAY_CLICKHOUSE_URL = server.url
    sink = ClickHouseSink(server.url, 365)
    yield sink
    sink.close()


def answered(**question: Any) -> list[dict[str, Any]]:
    return [orjson.loads(line) for _, line in find_records(Question(**question))]


def test_record_that_comes_twice_is_answered_once(sink: ClickHouseSink) -> None:
    frames = make_frames(20, path='é \\ "quoted"\n')
    sink.deliver(frames)
    sink.deliver(frames)
    records = answered(limit=100)
    assert [record["sequence"] for record in records] == list(range(19, -1, -1))
    assert records[-1]["hash"] == frames[0].digest.hex()
    assert records[-1]["path"] == 'é \\\\ "quoted"\\x0a'


def test_questions_are_answered_by_filter_and_period(sink: ClickHouseSink) -> None:
    begin = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    sink.deliver(make_frames(10, start=begin, principal="alice", route="orders"))
    sink.deliver(make_frames(10, start=begin + 100, principal="bob", decision="denied", status=403))
    assert {record["principal"] for record in answered(principal="alice")} == {"alice"}
    assert len(answered(status=403)) == len(answered(decision="denied")) == 10
    assert [record["principal"] for record in answered(request_id="request-3")] == ["bob", "alice"]
    since = datetime.fromtimestamp(begin + 105, UTC)
    assert len(answered(since=since)) == 5
    assert len(answered(until=since)) == 15
    assert answered(principal="' OR 1=1 --") == []


def test_server_that_is_down_is_an_outage_and_comes_back(
    sink: ClickHouseSink, server: ClickHouseServer
) -> None:
    server.failing = True
    with pytest.raises(SinkUnavailable):
        sink.deliver(make_frames(2))
    server.failing = False
    sink.deliver(make_frames(2))
    assert len(answered()) == 2


def expiry(server: ClickHouseServer) -> str:
    definition = str(server.session.query("SHOW CREATE TABLE gatehouse_audit", "TSVRaw"))
    return definition.partition("\nTTL ")[2].partition("\n")[0]


def test_expired_rows_go_by_themselves_by_the_present_setting_and_its_change_is_recorded(
    sink: ClickHouseSink, server: ClickHouseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Any]] = []
    monkeypatch.setattr("auditlog.recorder.record", lambda event, fields: told.append((event, fields)))
    for days, expected in ((365, "toIntervalDay(365)"), (30, "toIntervalDay(30)"), (0, ""), (7, "(7)")):
        changed = ClickHouseSink(server.url, days)
        changed.deliver(make_frames(1))
        changed.close()
        assert expected in expiry(server)
        assert bool(expiry(server)) == bool(expected)
    # The first of them has made the table.
    assert [fields["days"] for event, fields in told if event == "retention_set"] == [30, 0, 7]
    changed = ClickHouseSink(server.url, 7)
    changed.deliver(make_frames(1, start=1_000_000_000))
    changed.close()
    assert len(told) == 3
    server.session.query("OPTIMIZE TABLE gatehouse_audit FINAL")
    assert len(answered()) == 4
