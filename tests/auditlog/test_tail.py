"""The live tail: what was before, what comes, in order, filtered, to who may see it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.sessions.backends.db import SessionStore

from accounts.models import Principal
from auditlog import consumers
from auditlog.reader import next_batch
from auditlog.sinks.database import DatabaseSink
from auditlog.tail import MOST_AT_ONCE, MOST_BEFORE, SpoolTail, TailFilter
from tests.auditlog.conftest import REQUEST, MakeRecorder

EVERYTHING = TailFilter()


@pytest.fixture
def follow(spool: Path) -> Iterator[Any]:
    tails: list[SpoolTail] = []

    def make(wanted: TailFilter = EVERYTHING) -> SpoolTail:
        tails.append(SpoolTail(spool, wanted))
        return tails[-1]

    yield make
    for tail in tails:
        tail.close()


def statuses(records: list[dict[str, Any]]) -> list[int]:
    return [record["status"] for record in records]


def test_new_records_come_in_order_and_once(make_recorder: MakeRecorder, follow: Any) -> None:
    recorder = make_recorder(segment_bytes=8192)
    tail = follow()
    seen: list[int] = []
    for number in range(100):
        recorder.record("request_completed", {**REQUEST, "status": number})
        if number % 7 == 0:
            seen += statuses(tail.poll().records)
    seen += statuses(tail.poll().records)
    assert seen == list(range(100))


def test_segment_that_is_shipped_meanwhile_is_read_to_its_end(
    make_recorder: MakeRecorder, follow: Any, spool: Path
) -> None:
    recorder = make_recorder()
    recorder.record("request_completed", {**REQUEST, "status": 1})
    tail = follow()
    recorder.record("request_completed", {**REQUEST, "status": 2})
    for path in spool.glob("*.spool"):
        path.unlink()
    assert statuses(tail.poll().records) == [2]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (TailFilter(), 3),
        (TailFilter(principal="bob"), 1),
        (TailFilter(decision="denied"), 1),
        (TailFilter(route="orders", principal="alice"), 1),
        (TailFilter(route="none"), 0),
    ],
)
def test_tail_is_filtered(make_recorder: MakeRecorder, follow: Any, wanted: TailFilter, count: int) -> None:
    recorder = make_recorder()
    tail = follow(wanted)
    recorder.record("request_completed", REQUEST)
    recorder.record("request_completed", {**REQUEST, "principal": "bob", "route": None})
    recorder.record("request_completed", {**REQUEST, "decision": "denied", "route": "models"})
    assert len(tail.poll().records) == count


def test_flood_is_cut_to_the_newest_and_counted(make_recorder: MakeRecorder, follow: Any) -> None:
    recorder = make_recorder(segment_bytes=1 << 20)
    tail = follow()
    for number in range(MOST_AT_ONCE + 50):
        recorder.record("request_completed", {**REQUEST, "status": number})
    batch = tail.poll()
    assert (len(batch.records), batch.skipped) == (MOST_AT_ONCE, 50)
    assert batch.records[-1]["status"] == MOST_AT_ONCE + 49


@pytest.mark.django_db
def test_what_was_before_is_told_once_whether_stored_or_waiting(
    make_recorder: MakeRecorder, follow: Any, spool: Path
) -> None:
    recorder = make_recorder()
    for number in range(6):
        recorder.record("request_completed", {**REQUEST, "status": number})
    DatabaseSink().deliver(next_batch(spool, {}, 4).frames)
    tail = follow()
    assert statuses(tail.before(5)) == [1, 2, 3, 4, 5]


@pytest.mark.django_db
def test_spool_that_an_outage_has_filled_is_not_held_in_memory(
    make_recorder: MakeRecorder, follow: Any
) -> None:
    first, second = make_recorder(), make_recorder()
    for number in range(MOST_BEFORE + 50):
        (first, second)[number % 2].record(
            "request_completed", {**REQUEST, "status": number}, now=1e9 + number
        )
    tail = follow()
    assert len(tail._waiting) == MOST_BEFORE
    assert statuses(tail.before(MOST_BEFORE)) == list(range(50, MOST_BEFORE + 50))


# --- the WebSocket --------------------------------------------------------------------------


def watch(person: Any, query: str = "") -> WebsocketCommunicator:
    communicator = WebsocketCommunicator(consumers.TailConsumer.as_asgi(), f"/admin/audit/tail/ws?{query}")
    communicator.scope["user"] = person
    session = SessionStore()
    session.create()
    communicator.scope["session"] = session
    return communicator


@pytest.fixture
def auditor(transactional_db: None) -> Principal:
    return Principal.objects.create(name="auditor", is_staff=True, is_superuser=True)


@pytest.fixture
def spooled(make_recorder: MakeRecorder, spool: Path, settings: Any) -> Any:
    settings.GATEWAY_AUDIT_SPOOL_DIR = spool
    return make_recorder()


def test_watcher_gets_records_as_they_come(auditor: Principal, spooled: Any) -> None:
    watcher = watch(auditor, "principal=alice")

    async def scenario() -> list[dict[str, Any]]:
        connected, _ = await watcher.connect(5)
        assert connected
        before = orjson.loads(await watcher.receive_from(5))
        assert before["records"] == []
        spooled.record("request_completed", {**REQUEST, "principal": "bob"})
        spooled.record("request_completed", {**REQUEST, "status": 418})
        message = orjson.loads(await watcher.receive_from(5))
        await watcher.disconnect()
        return message["records"]

    assert statuses(asyncio.run(scenario())) == [418]
    assert not consumers._watchers


@pytest.mark.parametrize("fields", [{"is_staff": False, "is_superuser": True}, {"is_staff": True}], ids=str)
def test_who_may_not_view_records_may_not_watch(transactional_db: None, fields: dict[str, bool]) -> None:
    watcher = watch(Principal.objects.create(name="clerk", **fields))
    connected, code = asyncio.run(watcher.connect(5))
    assert (connected, code) == (False, consumers.CLOSE_FORBIDDEN)


def test_permission_that_is_taken_away_ends_the_tail(
    auditor: Principal, spooled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.2)
    watcher = watch(auditor)

    async def scenario() -> dict[str, Any]:
        await watcher.connect(5)
        await watcher.receive_from(5)
        await Principal.objects.filter(pk=auditor.pk).aupdate(is_active=False)
        ending: dict[str, Any] = await watcher.receive_output(5)
        return ending

    assert asyncio.run(scenario())["code"] == consumers.CLOSE_FORBIDDEN


def test_one_watcher_too_many_is_turned_away(
    auditor: Principal, spooled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MOST_WATCHERS", 0)
    watcher = watch(auditor)

    async def scenario() -> dict[str, Any]:
        await watcher.connect(5)
        ending: dict[str, Any] = await watcher.receive_output(5)
        return ending

    assert asyncio.run(scenario())["code"] == consumers.CLOSE_BUSY
