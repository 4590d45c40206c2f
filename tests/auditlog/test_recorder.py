"""What is recorded is in the spool at once, whole and in order; what can't be is counted."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from auditlog import recorder as audit
from auditlog.chain import START, link
from auditlog.recorder import AuditUnavailable
from tests.auditlog.conftest import KEY, REQUEST, MakeRecorder
from tests.auditlog.spooled import spooled_frames, spooled_records
from tests.services.deadline import wait_until


def test_record_is_readable_by_others_before_anything_is_closed(
    make_recorder: MakeRecorder, spool: Path
) -> None:
    make_recorder().record("request_completed", REQUEST, now=1_700_000_000.25)
    opened, record = spooled_records(spool)
    assert opened["event"] == "chain_opened"
    assert record["time"] == "2023-11-14T22:13:20.250000Z"
    assert (record["schema"], record["node"], record["sequence"]) == (1, "node-1", 1)
    assert (record["principal"], record["query"], record["user_agent"]) == ("alice", "limit=5", "curl/8.5.0")
    event_id = uuid.UUID(record["event_id"])
    assert (event_id.version, event_id.int >> 80) == (7, 1_700_000_000_250)


def test_callers_fields_are_left_as_they_are(make_recorder: MakeRecorder) -> None:
    fields = dict(REQUEST)
    make_recorder().record("request_completed", fields)
    assert fields == REQUEST


def test_records_are_linked_and_numbered_over_segments(make_recorder: MakeRecorder, spool: Path) -> None:
    recorder = make_recorder(segment_bytes=8192)
    for number in range(200):
        recorder.record("request_completed", {**REQUEST, "status": number})
    recorder.close()
    assert len(list(spool.iterdir())) > 5
    head = START
    for frame in spooled_frames(spool):
        assert frame.digest == link(head, frame.body)
        head = frame.digest
    records = spooled_records(spool)
    assert [record["sequence"] for record in records] == list(range(len(records)))
    assert len({record["event_id"] for record in records}) == len(records)
    assert [record["event"] for record in records[-2:]] == ["chain_closed", "checkpoint"]


def test_checkpoint_signs_the_head_before_it(make_recorder: MakeRecorder, spool: Path) -> None:
    recorder = make_recorder()
    for _ in range(1000):
        recorder.record("request_completed", {"status": 200})
    frames = spooled_frames(spool)
    (checkpoint,) = spooled_records(spool, "checkpoint")
    sequence = checkpoint["sequence"]
    expected = KEY.sign(str(recorder.chain), sequence, frames[sequence - 1].digest)
    assert checkpoint["signature"] == expected


def test_time_brings_a_checkpoint_for_the_last_records(make_recorder: MakeRecorder, spool: Path) -> None:
    moment = [1_700_000_000.0]
    recorder = make_recorder(started=True, clock=lambda: moment[0])
    recorder.record("request_completed", REQUEST)
    moment[0] += 11
    wait_until(lambda: spooled_records(spool, "checkpoint"), "a checkpoint")


@pytest.mark.parametrize("event", ['x","event":"y', "UPPER", "", "é"])
def test_event_name_can_not_break_the_line(make_recorder: MakeRecorder, spool: Path, event: str) -> None:
    make_recorder().record(event, REQUEST)
    assert spooled_records(spool)[-1]["event"] == "unnamed_event"


def test_field_can_not_replace_the_envelope(make_recorder: MakeRecorder, spool: Path) -> None:
    make_recorder().record("login_failed", {"sequence": 99, "node": "other", "event": "x"})
    record = spooled_records(spool)[-1]
    assert (record["sequence"], record["node"], record["event"]) == (1, "node-1", "login_failed")
    assert (record["sequence_"], record["node_"]) == (99, "other")


def test_record_that_json_can_not_hold_is_kept_as_text(make_recorder: MakeRecorder, spool: Path) -> None:
    recorder = make_recorder()
    loop: list[object] = []
    loop.append(loop)
    recorder.record("principal_changed", {"details": loop, "big": 2**70, "object": object})
    record = spooled_records(spool)[-1]
    assert record["big"] == str(2**70)
    assert recorder.dropped == 0


def test_full_spool_drops_counts_and_reports_itself(make_recorder: MakeRecorder, spool: Path) -> None:
    moment = [1_700_000_000.0]
    recorder = make_recorder(segment_bytes=8192, limit_bytes=3 * 8192, clock=lambda: moment[0])
    stored = sum(recorder.record("request_completed", REQUEST) for _ in range(100))
    assert 30 < stored < 100
    assert recorder.dropped == 100 - stored
    assert not recorder.record("request_completed", REQUEST)
    for path in sorted(spool.iterdir())[:2]:
        path.unlink()
    moment[0] += 2
    assert recorder.record("request_completed", REQUEST)
    (report,) = spooled_records(spool, "records_dropped")
    assert report["dropped"] == 101 - stored
    assert "bound" in report["reason"]
    assert report["first_drop"] == "2023-11-14T22:13:20Z"
    records = spooled_records(spool)
    assert [record["sequence"] for record in records] == list(
        range(records[0]["sequence"], records[-1]["sequence"] + 1)
    )


def test_directory_that_can_not_be_made_is_a_drop_and_no_exception(
    make_recorder: MakeRecorder, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = make_recorder(directory=tmp_path / "file" / "spool")
    assert not recorder.record("request_completed", REQUEST)
    assert recorder.counters()["dropped"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk_is_a_drop_and_the_records_before_it_stay(
    make_recorder: MakeRecorder, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        recorder = make_recorder(directory=disk)
        stored = sum(recorder.record("request_completed", REQUEST) for _ in range(1000))
        assert 0 < stored < 1000
        assert recorder.counters()["failed_allocations"] == 1
        assert len(spooled_records(disk, "request_completed")) == stored
        recorder.close()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_required_record_that_is_not_stored_raises(
    make_recorder: MakeRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(audit, "_recorder", make_recorder(directory=tmp_path / "file"))
    audit.record("request_completed", REQUEST)
    with pytest.raises(AuditUnavailable):
        audit.record_required("request_completed", REQUEST)


def test_durable_waits_for_the_disk(make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    original = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        original(descriptor)
        synced.append(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    recorder = make_recorder(started=True, fsync="always")

    async def wait_for_all() -> int:
        for _ in range(20):
            recorder.record("request_completed", REQUEST)
        await asyncio.gather(*(recorder.durable() for _ in range(20)))
        return len(synced)

    # A group commit: twenty waiters share a few syncs.
    assert 1 <= asyncio.run(wait_for_all()) < 20


def test_disk_that_fails_to_sync_refuses_who_waits(
    make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fdatasync(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    recorder = make_recorder(started=True, fsync="always")
    recorder.record("request_completed", REQUEST)
    with pytest.raises(AuditUnavailable):
        asyncio.run(recorder.durable())


def test_child_after_a_fork_writes_a_chain_of_its_own(
    make_recorder: MakeRecorder, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = make_recorder()
    parent.record("request_completed", REQUEST)
    monkeypatch.setattr(audit, "_recorder", parent)
    child = os.fork()
    if child == 0:
        # The parent's recorder is the parent's: the child has let go of it.
        os._exit(0 if audit._recorder is None and parent._closed else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert parent.record("request_completed", REQUEST)
    assert len(spooled_records(spool, "request_completed")) == 2


KILLED = """
import os, sys
sys.path.insert(0, os.getcwd())
import django
django.setup()
from auditlog import recorder
number = 0
while True:
    recorder.record("request_completed", {"status": number})
    number += 1
    print(number, flush=True)
"""


def test_killed_process_loses_no_record_it_has_answered_for(tmp_path: Path) -> None:
    environment = {**os.environ, "GATEWAY_DATA_DIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 500:
            break
    os.kill(process.pid, signal.SIGKILL)
    answered = 500 + len(process.stdout.read().split())
    process.wait(10)
    process.stdout.close()
    statuses = [record["status"] for record in spooled_records(tmp_path / "spool", "request_completed")]
    assert statuses[:answered] == list(range(answered))
    # At most the one that was being written.
    assert len(statuses) <= answered + 1
