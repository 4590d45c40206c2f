"""Old records go, what is left verifies at every moment of that, and the log says what was done."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from auditlog import recorder as audit
from auditlog import retention
from auditlog.configuration import signing_key
from auditlog.evidence import verify_database, verify_files
from auditlog.models import AuditRecord
from auditlog.partitions import ensure_partition, month_of
from auditlog.reader import next_batch
from auditlog.retention import apply_retention, keep
from auditlog.sinks.database import DatabaseSink
from auditlog.sinks.file import FileSink
from auditlog.verification import Finding, Summary
from tests.auditlog.blocks import record_turn
from tests.auditlog.conftest import REQUEST, MakeRecorder
from tests.services.deadline import wait_until

NOW = datetime.now(UTC)
DAYS = 30


class Log:
    """A log that goes on: what its recorder writes is stored by `ship`."""

    def __init__(self, spool: Path, recorder: audit.Recorder) -> None:
        self.recorder = recorder
        self.spool, self._offsets = spool, dict[str, int]()

    def record(self, age_days: float, count: int = 1, **fields: Any) -> None:
        for _ in range(count):
            moment = (NOW - timedelta(days=age_days)).timestamp()
            self.recorder.record("request_completed", REQUEST | fields, now=moment)

    def ship(self) -> None:
        batch = next_batch(self.spool, self._offsets, 10_000)
        DatabaseSink().deliver(batch.frames)
        self._offsets |= batch.offsets


@pytest.fixture
def log(
    committed_database: str,
    make_recorder: MakeRecorder,
    spool: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Log:
    """A chain that is old as a whole, and one that reaches over the limit; on both engines."""
    settings.GATEWAY_AUDIT_RETENTION_DAYS = DAYS
    monkeypatch.setattr(retention, "DELETED_AT_ONCE", 7)
    gone = Log(spool, make_recorder(key=signing_key()))
    gone.record(age_days=50, count=10)
    log = Log(spool, make_recorder(key=signing_key()))
    record_turn(log.recorder, 20)
    for age in (40, 35, 31, 29, 1):
        log.record(age_days=age, count=5)
    log.ship()
    monkeypatch.setattr(audit, "_recorder", log.recorder)
    return log


def findings() -> list[Finding]:
    return list(verify_database([signing_key()], Summary(), lambda count: None))


def told(event: str) -> list[dict[str, Any]]:
    bodies = AuditRecord.objects.filter(event=event).order_by("event_id").values_list("body", flat=True)
    return [orjson.loads(body) for body in bodies]


class Killed(Exception):
    pass


def break_off_after(steps: int) -> None:
    """As kill -9 would: nothing more is done or recorded."""
    left = steps

    def progress(removed: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    with pytest.raises(Killed):
        apply_retention(NOW, progress=progress)


def old() -> int:
    return AuditRecord.objects.filter(time__lt=NOW - timedelta(days=DAYS)).count()


def test_removal_is_announced_and_told_with_its_figures(log: Log) -> None:
    before = old()
    steps: list[int] = []
    assert apply_retention(NOW, progress=steps.append) == before > 20
    log.ship()
    assert steps[-1] == before
    assert old() == 0
    (started,), (applied,) = told("retention_started"), told("retention_applied")
    assert applied["removed"] == before
    assert (started["days"], started["before"]) == (applied["days"], applied["before"])
    assert len(started["begins"]) == 1
    assert findings() == []


def test_file_that_keeps_what_the_database_has_removed_verifies_whole(log: Log, tmp_path: Path) -> None:
    file = FileSink(tmp_path / "audit.jsonl", 0, 1, fsync=False)
    offsets: dict[str, int] = {}

    def write() -> None:
        batch = next_batch(log.spool, offsets, 10_000)
        file.deliver(batch.frames)
        offsets.update(batch.offsets)

    write()
    assert apply_retention(NOW) > 0
    log.ship()
    write()
    file.close()
    lines = (tmp_path / "audit.jsonl").read_bytes().splitlines(keepends=True)

    def found(lines: list[bytes]) -> list[tuple[str, int | None]]:
        (tmp_path / "audit.jsonl").write_bytes(b"".join(lines))
        told = verify_files([tmp_path / "audit.jsonl"], [signing_key()], Summary(), lambda count: None)
        return [(finding.kind, finding.sequence) for finding in told]

    assert found(lines) == []
    chain = str(log.recorder.chain).encode()
    first = next(index for index, line in enumerate(lines) if chain in line)
    assert found([*lines[: first + 2], *lines[first + 3 :]]) == [("removed", 3)]
    # An export of the database begins at the cut.
    call_command("audit", "export", "--output", str(tmp_path / "export.jsonl"))
    assert found((tmp_path / "export.jsonl").read_bytes().splitlines(keepends=True)) == []


def test_nothing_to_remove_says_nothing(log: Log) -> None:
    apply_retention(NOW)
    assert apply_retention(NOW) == 0
    log.ship()
    assert len(told("retention_started")) == len(told("retention_applied")) == 1


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_removal_that_is_killed_leaves_a_log_that_verifies_and_is_finished_later(
    log: Log, steps: int
) -> None:
    break_off_after(steps)
    log.ship()
    assert findings() == []
    left = old()
    assert apply_retention(NOW) == left
    log.ship()
    assert old() == 0
    assert findings() == []
    assert [entry["removed"] for entry in told("retention_applied")] == ([left] if left else [])


def test_broken_off_removal_hides_no_change_of_what_is_kept(log: Log) -> None:
    break_off_after(2)
    log.ship()
    kept = AuditRecord.objects.filter(time__gte=NOW - timedelta(days=DAYS), event="request_completed")
    first, second, third = kept.order_by("chain", "sequence").filter(principal="alice")[3:6]
    kept.filter(pk=second.pk)._raw_delete(AuditRecord.objects.db)
    assert [(found.kind, found.sequence) for found in findings()] == [("removed", third.sequence)]
    kept.filter(pk=first.pk).update(principal="mallory")
    assert ("altered", first.sequence) in [(found.kind, found.sequence) for found in findings()]


def test_cut_where_the_clock_was_set_back_leaves_a_log_that_verifies(
    committed_database: str, make_recorder: MakeRecorder, spool: Path, settings: Any, monkeypatch: Any
) -> None:
    settings.GATEWAY_AUDIT_RETENTION_DAYS = DAYS
    log = Log(spool, make_recorder(key=signing_key()))
    for age in (31, 29.5, 30.5, 29, 1):
        log.record(age_days=age, count=3)
    log.ship()
    monkeypatch.setattr(audit, "_recorder", log.recorder)
    assert findings() == []
    # The record that opens the chain is as old as its first one; the last three come late in it.
    assert apply_retention(NOW) == 1 + 3 + 3 + 3
    log.ship()
    assert findings() == []
    assert told("retention_applied")[0]["removed"] == 10


def test_old_record_that_comes_back_after_the_removal_is_found(log: Log) -> None:
    oldest = AuditRecord.objects.filter(chain=log.recorder.chain).order_by("sequence")[2]
    apply_retention(NOW)
    log.ship()
    ensure_partition(month_of(oldest.time))
    AuditRecord.objects.bulk_create([oldest])
    assert [(found.kind, found.sequence) for found in findings()] == [("inserted", oldest.sequence)]


def test_nothing_is_removed_when_that_can_not_be_recorded(
    log: Log, monkeypatch: pytest.MonkeyPatch, make_recorder: MakeRecorder, tmp_path: Path
) -> None:
    full = make_recorder(directory=tmp_path / "full", segment_bytes=64 * 1024, limit_bytes=1)
    monkeypatch.setattr(audit, "_recorder", full)
    before = old()
    with pytest.raises(CommandError, match="Nothing was removed"):
        call_command("audit", "retention")
    assert old() == before > 0


@pytest.mark.parametrize("committed_database", ["postgresql"], indirect=True)
def test_only_one_process_removes_at_a_time(log: Log) -> None:
    """An SQLite file has one host, whose shipper holds a lock."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [retention._ADVISORY_LOCK])
        assert apply_retention(NOW) == 0
        cursor.execute("SELECT pg_advisory_unlock(%s)", [retention._ADVISORY_LOCK])
    other.close()
    assert apply_retention(NOW) > 0


def test_shipper_keeps_the_limit_by_itself_and_tries_again_after_a_failure(log: Log) -> None:
    stop = threading.Event()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE auditlog_auditrecord RENAME TO elsewhere")
    thread = threading.Thread(target=keep, args=(stop, 0.01, 0.05))
    thread.start()
    try:
        stop.wait(0.2)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO auditlog_auditrecord")
        wait_until(lambda: old() == 0, "the old records are gone", 20)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    log.ship()
    assert findings() == []


def test_command_removes_and_says_how_many(log: Log, settings: Any, capsys: Any) -> None:
    before = old()
    call_command("audit", "retention")
    assert f"{before} records older than 30 days removed" in capsys.readouterr().out
    settings.GATEWAY_AUDIT_RETENTION_DAYS = 0
    call_command("audit", "retention")
    assert "all records are kept" in capsys.readouterr().out
