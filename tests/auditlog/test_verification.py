"""Tampering with stored records is found and named; honest operation is not."""

import gzip
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from auditlog import recorder as audit
from auditlog.chain import link
from auditlog.configuration import signing_key
from auditlog.cursor import Cursor
from auditlog.evidence import verify_database, verify_files
from auditlog.models import AuditRecord, ImmutableRecord
from auditlog.reader import next_batch
from auditlog.record import RecordEncoder
from auditlog.retention import apply_retention
from auditlog.retirement import Retirement
from auditlog.segment import Frame
from auditlog.sinks.database import DatabaseSink
from auditlog.sinks.sink import json_line
from auditlog.verification import Finding, Summary
from tests.auditlog.conftest import REQUEST, MakeRecorder
from tests.auditlog.frames import REDACTION

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain(make_recorder: MakeRecorder, spool: Path) -> list[Frame]:
    """A closed chain: opened, 20 requests, closed, checkpoint; as it was recorded."""
    recorder = make_recorder(key=signing_key())
    for number in range(20):
        recorder.record("request_completed", {**REQUEST, "status": 200 + number})
    recorder.close()
    return next_batch(spool, {}, 1000).frames


@pytest.fixture
def stored(chain: list[Frame]) -> list[Frame]:
    DatabaseSink().deliver(chain)
    return chain


def findings() -> list[Finding]:
    return list(verify_database([signing_key()], Summary(), lambda count: None))


def kinds() -> set[str]:
    return {finding.kind for finding in findings()}


def change(number: int, **values: Any) -> None:
    assert AuditRecord.objects.filter(sequence=number).update(**values) == 1


def test_what_was_recorded_verifies(stored: list[Frame]) -> None:
    summary = Summary()
    assert list(verify_database([signing_key()], summary, lambda count: None)) == []
    assert (summary.records, summary.chains, summary.checkpoints, summary.unsigned) == (23, 1, 1, 0)


def test_removed_record_is_named_by_its_number(stored: list[Frame]) -> None:
    AuditRecord.objects.filter(sequence=7)._raw_delete(AuditRecord.objects.db)
    assert [(finding.kind, finding.sequence) for finding in findings()] == [("removed", 8)]
    assert "number 7" in findings()[0].text


def test_removed_end_of_a_closed_chain_is_found(stored: list[Frame]) -> None:
    AuditRecord.objects.filter(sequence=22)._raw_delete(AuditRecord.objects.db)
    assert [(finding.kind, finding.sequence) for finding in findings()] == [("removed", 22)]


def test_altered_text_is_found(stored: list[Frame]) -> None:
    body = AuditRecord.objects.get(sequence=5).body
    change(5, body=body.replace("alice", "mallory"), principal="mallory")
    assert {(finding.kind, finding.sequence) for finding in findings()} == {("altered", 5)}


@pytest.mark.parametrize(
    "values",
    [
        {"principal": "mallory"}, {"status": 999}, {"decision": "denied"}, {"path": "/x"}, {"route": ""},
        {"time": datetime(2026, 1, 1, tzinfo=UTC)}, {"status": None}, {"node": "node-2"}, {"event": "x"},
    ],
    ids=lambda values: next(iter(values)),
)  # fmt: skip
def test_altered_column_is_found_though_the_text_is_whole(
    stored: list[Frame], values: dict[str, Any]
) -> None:
    change(5, **values)
    found = findings()
    assert [(finding.kind, finding.sequence) for finding in found] == [("altered", 5)]
    assert next(iter(values)) in found[0].text


def test_swapped_records_are_found(stored: list[Frame]) -> None:
    change(5, sequence=1005)
    change(6, sequence=5)
    change(1005, sequence=6)
    assert "reordered" in kinds()


def test_inserted_record_is_found(stored: list[Frame]) -> None:
    record = AuditRecord.objects.get(sequence=5)
    forged = record.body.replace(str(record.event_id), "01a00000-0000-7000-8000-000000000000")
    row = {field.attname: getattr(record, field.attname) for field in AuditRecord._meta.fields}
    row |= {"event_id": "01a00000-0000-7000-8000-000000000000", "body": forged}
    AuditRecord.objects.bulk_create([AuditRecord(**row)])
    assert "inserted" in kinds() or "altered" in kinds()
    assert {finding.sequence for finding in findings()} == {5}


def test_chain_that_was_rewritten_with_good_hashes_fails_at_the_signature(stored: list[Frame]) -> None:
    head = bytes(32)
    for record in AuditRecord.objects.order_by("sequence"):
        body = record.body.replace("alice", "mallory")
        head = link(head, body.encode())
        principal = record.principal.replace("alice", "mallory")
        change(record.sequence, body=body, hash=head, principal=principal)
    assert kinds() == {"forged"}


def test_checkpoint_under_another_key_is_told(stored: list[Frame]) -> None:
    other = signing_key()._replace(key_id="other")
    assert {finding.kind for finding in verify_database([other], Summary(), print)} == {"unknown_key"}


def test_end_that_was_cut_off_is_found_by_the_shippers_anchor(
    stored: list[Frame], make_recorder: MakeRecorder, tmp_path: Path
) -> None:
    last = orjson.loads(stored[-1].body)
    shipper = make_recorder(key=signing_key(), directory=tmp_path / "shipper")
    heads = {last["chain"]: [last["sequence"], stored[-1].digest.hex(), last["time"]]}
    shipper.record("chains_anchored", {"heads": heads})
    shipper.close()
    DatabaseSink().deliver(next_batch(tmp_path / "shipper", {}, 100).frames)
    assert findings() == []
    AuditRecord.objects.filter(chain=last["chain"], sequence__gte=15)._raw_delete(AuditRecord.objects.db)
    assert [(finding.kind, finding.sequence) for finding in findings()] == [("removed", 22)]
    AuditRecord.objects.filter(chain=last["chain"])._raw_delete(AuditRecord.objects.db)
    assert ["whole chain" in finding.text for finding in findings()] == [True]


def test_command_names_what_it_found_and_fails(
    stored: list[Frame], capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("audit", "verify")
    assert "whole" in capsys.readouterr().out
    change(5, principal="mallory")
    with pytest.raises(CommandError):
        call_command("audit", "verify")
    assert "altered: chain" in capsys.readouterr().out


# --- what somebody without the key can write, with good hashes -------------------------------


def insert(
    chain: str, sequence: int, previous: bytes, event: str = "request_completed", **fields: Any
) -> bytes:
    """Add a record with a hash that fits; returns it."""
    encoder = RecordEncoder("node-1", uuid.UUID(chain), REDACTION)
    body = encoder.encode(event, fields or REQUEST, datetime.now(UTC).timestamp(), sequence)
    digest = link(previous, body)
    DatabaseSink().deliver([Frame(digest, body)])
    return digest


@pytest.mark.parametrize("event", ["request_completed", "chain_opened"])
def test_chain_that_nobody_opened_is_found(stored: list[Frame], event: str) -> None:
    chain = str(uuid.uuid4())
    insert(chain, 0, bytes(32), event)
    (found,) = findings()
    assert (found.kind, found.chain, found.sequence) == ("inserted", chain, 0)
    assert AuditRecord.objects.get(chain=chain).event_id == uuid.UUID(found.event_id)


def test_opening_of_another_chain_opens_no_second_one(stored: list[Frame]) -> None:
    opened = orjson.loads(stored[0].body)
    chain = str(uuid.uuid4())
    insert(chain, 0, bytes(32), "chain_opened", **{name: opened[name] for name in ("key_id", "signature")})
    assert [(found.kind, found.chain) for found in findings()] == [("forged", chain)]


def test_record_behind_the_end_of_a_closed_chain_is_found(stored: list[Frame]) -> None:
    last = orjson.loads(stored[-1].body)
    digest = insert(last["chain"], 23, stored[-1].digest)
    insert(last["chain"], 24, digest, "checkpoint", key_id=signing_key().key_id, signature="0" * 64)
    assert [(found.kind, found.sequence) for found in findings()] == [
        ("inserted", 23),
        ("inserted", 24),
        ("forged", 24),
    ]


def test_record_behind_the_end_of_a_killed_processs_chain_is_found(
    make_recorder: MakeRecorder, tmp_path: Path
) -> None:
    directory = tmp_path / "killed"
    killed = make_recorder(key=signing_key(), directory=directory)
    killed.record("request_completed", REQUEST)
    killed.abandon()
    keeper = make_recorder(key=signing_key(), directory=tmp_path / "keeper")
    frames = next_batch(directory, {}, 100).frames
    DatabaseSink().deliver(frames)
    cursor = Cursor(directory / "cursor-x.json", offsets=next_batch(directory, {}, 100).offsets)
    Retirement(directory, keeper.record, 1e9, {}).sweep([cursor])
    keeper.close()
    DatabaseSink().deliver(next_batch(tmp_path / "keeper", {}, 100).frames)
    assert findings() == []
    insert(str(killed.chain), 2, frames[-1].digest)
    assert [(found.kind, found.sequence) for found in findings()] == [("inserted", 2)]
    AuditRecord.objects.filter(chain=killed.chain, sequence__gt=0)._raw_delete(AuditRecord.objects.db)
    assert [(found.kind, found.sequence) for found in findings()] == [("removed", 1)]


@pytest.mark.parametrize("event", ["retention_started", "retention_applied"])
def test_retention_of_ones_own_making_explains_no_gap(
    stored: list[Frame], make_recorder: MakeRecorder, tmp_path: Path, event: str
) -> None:
    """It is linked to the end of a chain whose process still lives, so that nothing else is wrong with it."""
    living = make_recorder(key=signing_key(), directory=tmp_path / "living")
    living.record("request_completed", REQUEST)
    frames = next_batch(tmp_path / "living", {}, 100).frames
    DatabaseSink().deliver(frames)
    chain = orjson.loads(stored[7].body)["chain"]
    begins = {chain: [8, stored[7].digest.hex()]}
    insert(
        str(living.chain), 2, frames[-1].digest, event, before="2099-01-01T00:00:00.000000Z", begins=begins
    )
    assert findings() == []
    AuditRecord.objects.filter(chain=chain, sequence__lt=8)._raw_delete(AuditRecord.objects.db)
    assert [(found.kind, found.chain, found.sequence) for found in findings()] == [("removed", chain, 8)]


# --- files ----------------------------------------------------------------------------------


def verify_lines(tmp_path: Path, lines: list[bytes]) -> set[str]:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return {finding.kind for finding in verify_files([path], [signing_key()], Summary(), lambda count: None)}


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (lambda lines: lines, set()),
        (lambda lines: lines + lines[3:6], set()),
        (lambda lines: lines[:5] + lines[6:], {"removed"}),
        (lambda lines: [line.replace(b"alice", b"mallory") for line in lines], {"altered", "forged"}),
        (lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]], {"reordered"}),
        (lambda lines: [*lines, b"not a record"], {"altered"}),
    ],
    ids=["whole", "delivered twice", "removed", "altered", "reordered", "junk"],
)
def test_file_is_verified_line_by_line(
    chain: list[Frame], tmp_path: Path, tamper: Callable[[list[bytes]], list[bytes]], found: set[str]
) -> None:
    lines = [json_line(frame) for frame in chain]
    assert verify_lines(tmp_path, tamper(lines)) <= found | ({"altered"} if found else set())
    assert (verify_lines(tmp_path, tamper(lines)) != set()) == bool(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[:-66] + line[-66:].upper(),
        lambda line: b" " + line,
        lambda line: line + b" ",
        lambda line: line + b"\r",
        lambda line: line.replace(b",", b", ", 1),
        lambda line: line[:-66] + b"0" * 64 + b'"}',
        lambda line: line[:-20],
        lambda line: line + line,
        lambda line: b"",
        lambda line: line.replace(b'"sequence":7', b'"sequence":7.0'),
        lambda line: line.replace(b'"sequence":7', b'"sequence":1e999'),
        lambda line: line.replace(b'{"schema":1', b'{"schema":1,"schema":1'),
        lambda line: b"[" * 5000,
    ],
    ids=[
        "case", "before", "behind", "cr", "between", "hash", "cut", "joined", "empty", "float", "huge",
        "twice", "deep",
    ],
)  # fmt: skip
def test_any_other_spelling_of_a_line_is_found(
    chain: list[Frame], tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    lines = [json_line(frame) for frame in chain]
    lines[7] = change(lines[7])
    assert "altered" in verify_lines(tmp_path, lines)


def test_broken_line_is_named_by_what_it_still_says(chain: list[Frame], tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = [json_line(frame) + b"\n" for frame in chain]
    record = orjson.loads(lines[7])
    lines[7] = orjson.dumps({name: record[name] for name in record if name != "hash"}) + b"\n"
    path.write_bytes(b"".join(lines))
    altered, removed = verified([path])
    assert (altered.chain, altered.sequence, altered.event_id) == (record["chain"], 7, record["event_id"])
    assert (removed.kind, removed.sequence) == ("removed", 8)


@pytest.fixture
def rotated(chain: list[Frame], tmp_path: Path) -> list[Path]:
    """As the file sink leaves them: the newest lines are in the file without a number."""
    lines = [json_line(frame) + b"\n" for frame in chain]
    paths = [tmp_path / name for name in ("audit.jsonl", "audit.jsonl.1.gz", "audit.jsonl.2.gz")]
    paths[0].write_bytes(b"".join(lines[16:]))
    # A batch that came twice, the first time just before the rotation.
    paths[1].write_bytes(gzip.compress(b"".join(lines[6:16])))
    paths[2].write_bytes(gzip.compress(b"".join(lines[:9])))
    return paths


def verified(paths: list[Path]) -> list[Finding]:
    return list(verify_files(paths, [signing_key()], Summary(), lambda count: None))


def test_rotated_files_verify_together_and_a_missing_one_is_found(rotated: list[Path]) -> None:
    assert verified(rotated) == verified(rotated[::-1]) == []
    assert [(found.kind, found.sequence) for found in verified([rotated[0], rotated[2]])] == [("removed", 16)]


def test_file_that_came_twice_as_a_whole_is_no_finding(
    make_recorder: MakeRecorder, spool: Path, tmp_path: Path
) -> None:
    """As a rotation leaves it that was killed at its end and then done again."""
    recorder = make_recorder(key=signing_key())
    for _ in range(3000):
        recorder.record("request_completed", REQUEST)
    recorder.close()
    lines = [json_line(frame) + b"\n" for frame in next_batch(spool, {}, 10_000).frames]
    paths = [tmp_path / name for name in ("audit.jsonl", "audit.jsonl.1.gz", "audit.jsonl.2.gz")]
    paths[0].write_bytes(b"".join(lines[2500:]))
    for path in paths[1:]:
        path.write_bytes(gzip.compress(b"".join(lines[:2500])))
    assert verified(paths) == []


def test_broken_first_line_leaves_the_files_in_their_order(rotated: list[Path]) -> None:
    rotated[0].write_bytes(rotated[0].read_bytes()[1:])
    assert [(found.kind, found.sequence) for found in verified(rotated)] == [
        ("altered", None),
        ("removed", 17),
    ]


def test_export_is_in_order_though_the_clock_was_set_back(
    make_recorder: MakeRecorder, spool: Path, tmp_path: Path
) -> None:
    recorder = make_recorder(key=signing_key())
    for second in (1, 2, 3, 2, 3, 4):
        recorder.record("request_completed", REQUEST, now=datetime.now(UTC).timestamp() + second)
    recorder.close()
    frames = next_batch(spool, {}, 100).frames
    DatabaseSink().deliver(frames)
    assert findings() == []
    path = tmp_path / "export.jsonl"
    call_command("audit", "export", "--output", str(path))
    assert verified([path]) == []
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]))
    assert "reordered" in {found.kind for found in verified([path])}


@pytest.mark.parametrize("fault", ["no such file", "cut off", "a directory", "no lines"])
def test_file_that_can_not_be_verified_is_named(rotated: list[Path], fault: str, tmp_path: Path) -> None:
    if fault == "no such file":
        rotated[1].unlink()
    elif fault == "cut off":
        rotated[1].write_bytes(rotated[1].read_bytes()[:-12])
    elif fault == "a directory":
        rotated[1] = tmp_path
    else:
        rotated[1].write_bytes(bytes(range(256)) * 40)
    names = "|".join((rotated[1].name, "findings"))
    with pytest.raises(CommandError, match=names):
        call_command("audit", "verify", "--file", *map(str, rotated))


# --- what is allowed ------------------------------------------------------------------------


def test_retention_removes_the_old_records_itself_and_the_rest_verifies(
    make_recorder: MakeRecorder, spool: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GATEWAY_AUDIT_RETENTION_DAYS = 30
    now = datetime.now(UTC)
    recorder = make_recorder(key=signing_key())
    for days in (40, 35, 31, 29, 10, 0):
        recorder.record("request_completed", REQUEST, now=(now - timedelta(days=days)).timestamp())
    monkeypatch.setattr(audit, "_recorder", recorder)
    batch = next_batch(spool, {}, 1000)
    DatabaseSink().deliver(batch.frames)
    # The record that opens the chain has the time of the first record.
    assert apply_retention(now) == 4
    assert "removed" in kinds()
    recorder.close()
    DatabaseSink().deliver(next_batch(spool, batch.offsets, 1000).frames)
    assert findings() == []
    applied = orjson.loads(AuditRecord.objects.get(event="retention_applied").body)
    assert (applied["removed"], applied["days"]) == (4, 30)


def test_records_can_not_be_saved_or_deleted_as_ordinary_rows(stored: list[Frame]) -> None:
    record = AuditRecord.objects.first()
    assert record is not None
    with pytest.raises(ImmutableRecord):
        record.save()
    with pytest.raises(ImmutableRecord):
        record.delete()


def test_record_that_is_delivered_again_is_passed_over(stored: list[Frame]) -> None:
    DatabaseSink().deliver(stored)
    assert AuditRecord.objects.count() == len(stored)
    assert connection.vendor == "sqlite"


def test_frame_that_is_no_record_is_refused_alone(chain: list[Frame]) -> None:
    from auditlog.sinks.sink import SinkRejected

    broken = [chain[0], replace_body(chain[1], b"{torn"), chain[2]]
    with pytest.raises(SinkRejected) as refusal:
        DatabaseSink().deliver(broken)
    assert list(refusal.value.reasons) == [1]
    assert AuditRecord.objects.count() == 2


def replace_body(frame: Frame, body: bytes) -> Frame:
    return frame._replace(body=body)
