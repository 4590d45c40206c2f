"""Tampering with stored records is found and named; honest operation is not."""

import uuid
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
from auditlog.evidence import verify_database
from auditlog.models import AuditRecord, ImmutableRecord
from auditlog.reader import next_batch
from auditlog.record import RecordEncoder
from auditlog.retention import apply_retention
from auditlog.retirement import Retirement
from auditlog.segment import Frame
from auditlog.sinks.database import DatabaseSink
from auditlog.verification import Finding, Summary
from tests.auditlog.conftest import REQUEST, MakeRecorder
from tests.auditlog.frames import REDACTION

pytestmark = pytest.mark.django_db


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
