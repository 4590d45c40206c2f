"""Tampering with records that were hashed together is found, and named as closely as it can be."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditlog.chain import link
from auditlog.configuration import signing_key
from auditlog.evidence import verify_database, verify_files
from auditlog.models import AuditRecord
from auditlog.reader import next_batch
from auditlog.segment import Frame
from auditlog.sinks.database import DatabaseSink
from auditlog.sinks.sink import json_line
from auditlog.verification import Summary
from tests.auditlog.blocks import record_turn
from tests.auditlog.conftest import REQUEST, MakeRecorder

pytestmark = pytest.mark.django_db
# Number 0 opens the chain; 1 to 7 and 8 to 12 are blocks, 13 stands alone, 14 is a block of one, 15 to 17 is one.
BLOCKS = (7, 5, 0, 1, 3)


@pytest.fixture
def chain(make_recorder: MakeRecorder, spool: Path) -> list[Frame]:
    recorder = make_recorder(key=signing_key())
    for count in BLOCKS:
        if count:
            record_turn(recorder, count)
        else:
            recorder.record("request_completed", REQUEST)
    recorder.close()
    return next_batch(spool, {}, 1000).frames


@pytest.fixture
def stored(chain: list[Frame]) -> list[Frame]:
    DatabaseSink().deliver(chain)
    return chain


def findings() -> list[tuple[str, int | None]]:
    found = verify_database([signing_key()], Summary(), lambda count: None)
    return [(finding.kind, finding.sequence) for finding in found]


def change(number: int, **values: Any) -> None:
    assert AuditRecord.objects.filter(sequence=number).update(**values) == 1


def remove(*numbers: int) -> None:
    AuditRecord.objects.filter(sequence__in=numbers)._raw_delete(AuditRecord.objects.db)


def rewrite(number: int, edit: Callable[[dict[str, Any]], dict[str, Any]], columns: bool = True) -> None:
    """Change a record as somebody would who knows how its checksum is made."""
    stored = AuditRecord.objects.get(sequence=number)
    record = edit(orjson.loads(stored.body))
    first, count, _ = record.pop("block")
    text = orjson.dumps(record)[:-1]
    body = text + b',"block":[%d,%d,"%08x"]}' % (first, count, zlib.crc32(text))
    values: dict[str, Any] = {"body": body.decode()}
    if columns:
        names = ("principal", "route", "method", "path", "status", "decision", "client_ip", "request_id")
        values |= {name: record.get(name) if name == "status" else record.get(name) or "" for name in names}
    change(number, **values)


def test_what_was_recorded_verifies(stored: list[Frame]) -> None:
    summary = Summary()
    assert list(verify_database([signing_key()], summary, lambda count: None)) == []
    assert (summary.records, summary.chains, summary.checkpoints, summary.unsigned) == (20, 1, 1, 0)


@pytest.mark.parametrize("number", [1, 4, 7, 8, 12, 14, 15, 17])
def test_altered_text_is_named(stored: list[Frame], number: int) -> None:
    stored_body = AuditRecord.objects.get(sequence=number).body
    change(number, body=stored_body.replace('"status":200', '"status":201'), status=201)
    assert findings() == [("altered", number)]


@pytest.mark.parametrize("number", [1, 4, 7, 8, 12, 15, 17])
def test_altered_text_with_a_good_checksum_is_found_in_its_block(stored: list[Frame], number: int) -> None:
    rewrite(number, lambda record: record | {"principal": "mallory"})
    first = max(begin for begin in (1, 8, 15) if begin <= number)
    assert findings() == [("altered", first)]
    (found,) = verify_database([signing_key()], Summary(), lambda count: None)
    last = first + {1: 7, 8: 5, 15: 3}[first] - 1
    assert f"numbers {first} to {last}" in found.text


def test_altered_block_of_one_with_a_good_checksum_is_named(stored: list[Frame]) -> None:
    rewrite(14, lambda record: record | {"principal": "mallory"})
    assert findings() == [("altered", 14)]


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: {**record, "note": "added"},
        lambda record: {name: value for name, value in record.items() if name != "principal"},
        lambda record: {**record, "duration_ms": record["duration_ms"] + 0.001},
        lambda record: {**record, "upstream_ms": None},
        lambda record: {**record, "duration_ms": record["duration_ms"] + 0.0001},
        lambda record: {**record, "upstream_ms": record["upstream_ms"] + 0.0001},
        lambda record: {**record, "status": 200.0},
        lambda record: {**record, "query": None},
        lambda record: {"path": record["path"], **record},
        lambda record: {
            **{name: record[name] for name in record if name != "status"},
            "status": record["status"],
        },
        lambda record: {**record, "bytes_out": 0},
        lambda record: {**record, "request_id": "018f3f3e-7c52-7f0a-9a3e-3f2a7a1b2c3d"},
        lambda record: {**record, "query": "limit=5"},
        lambda record: {**record, "node": "other"},
        lambda record: {**record, "event": "request_failed"},
        lambda record: {**record, "time": record["time"][:-2] + "9Z"},
    ],
    ids=[
        "added",
        "left out",
        "slower",
        "no upstream",
        "a trifle",
        "a trifle there",
        "other form",
        "nothing",
        "first",
        "last",
        "size",
        "request",
        "query",
        "node",
        "event",
        "time",
    ],
)
def test_any_other_word_with_a_good_checksum_is_found(
    stored: list[Frame], edit: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    rewrite(4, edit)
    assert "altered" in {kind for kind, _ in findings()}


@pytest.mark.parametrize(
    "spelling", ['"block":[ 1,7,"', '"block":[true,7,"', '"block":[1,7.0,"', '"block":[1,7,1,"']
)
def test_any_other_spelling_of_its_place_is_found(stored: list[Frame], spelling: str) -> None:
    body = AuditRecord.objects.get(sequence=4).body
    change(4, body=body.replace('"block":[1,7,"', spelling))
    assert ("altered", 4) in findings()


def test_text_that_says_something_twice_is_found(stored: list[Frame]) -> None:
    record = AuditRecord.objects.get(sequence=4)
    text = record.body.partition(',"block":[')[0].replace('"method":"GET"', '"method":"PUT","method":"GET"')
    change(4, body=f'{text},"block":[1,7,"{zlib.crc32(text.encode()):08x}"]}}')
    assert findings() == [("altered", 4)]


@pytest.mark.parametrize(
    ("numbers", "named"),
    [((1,), 2), ((4,), 5), ((7,), 8), ((1, 2, 3, 4, 5, 6, 7), 8), ((6, 7, 8, 9), 10), ((14,), 15)],
)
def test_removed_records_are_named(stored: list[Frame], numbers: tuple[int, ...], named: int) -> None:
    remove(*numbers)
    assert findings() == [("removed", named)]


def test_removed_record_does_not_hide_an_altered_one(stored: list[Frame]) -> None:
    remove(2)
    body = AuditRecord.objects.get(sequence=5).body
    change(5, body=body.replace("alice", "mallory"), principal="mallory")
    rewrite(10, lambda record: record | {"principal": "mallory"})
    assert findings() == [("removed", 3), ("altered", 5), ("altered", 8)]


@pytest.mark.parametrize("number", [1, 4, 7])
def test_altered_hash_is_named(stored: list[Frame], number: int) -> None:
    change(number, hash=b"x" * 32)
    assert findings() == [("altered", number)]


def test_whole_block_under_another_hash_is_found(stored: list[Frame]) -> None:
    AuditRecord.objects.filter(sequence__range=(1, 7)).update(hash=b"x" * 32)
    assert [finding for finding in findings() if finding[0] == "altered"] == [("altered", 1), ("altered", 8)]


@pytest.mark.parametrize("claim", [(1, 8), (1, 6), (0, 7), (2, 6), (1, 256), (1, 100_000), (-5, 20)])
def test_block_that_claims_another_size_is_found(stored: list[Frame], claim: tuple[int, int]) -> None:
    """Were a block believed that says it is not complete, its hash would never be looked at."""
    for number in range(1, 8):
        rewrite(number, lambda record: record | {"principal": "mallory", "block": [*claim, ""]})
    assert "altered" in {kind for kind, _ in findings()}


def test_record_that_stood_alone_can_not_be_made_part_of_a_block(stored: list[Frame]) -> None:
    rewrite(13, lambda record: record | {"block": [13, 2, ""]})
    assert ("altered", 13) in findings()


def test_swapped_records_are_found(stored: list[Frame]) -> None:
    change(4, sequence=1004)
    change(5, sequence=4)
    change(1004, sequence=5)
    assert "reordered" in {kind for kind, _ in findings()}


def test_inserted_record_is_found(stored: list[Frame]) -> None:
    record = AuditRecord.objects.get(sequence=4)
    row = {field.attname: getattr(record, field.attname) for field in AuditRecord._meta.fields}
    forged = "01a00000-0000-7000-8000-000000000000"
    row |= {"event_id": forged, "body": record.body.replace(str(record.event_id), forged)}
    AuditRecord.objects.bulk_create([AuditRecord(**row)])
    assert {kind for kind, _ in findings()} & {"inserted", "altered"}
    assert {number for _, number in findings()} == {4}


def test_chain_that_was_rewritten_with_good_hashes_fails_at_the_signature(stored: list[Frame]) -> None:
    head, block, members = bytes(32), None, []
    from auditlog.block import collapse

    for number in range(20):
        record = orjson.loads(AuditRecord.objects.get(sequence=number).body)
        if "block" not in record:
            body = AuditRecord.objects.get(sequence=number).body
            head = link(head, body.encode())
            change(number, hash=head)
            continue
        rewrite(number, lambda record: record | {"principal": "mallory"})
        members.append(orjson.loads(AuditRecord.objects.get(sequence=number).body))
        block = record["block"]
        if len(members) == block[1]:
            head = link(head, collapse(members))
            for member in members:
                change(member["sequence"], hash=head)
            members = []
    assert {kind for kind, _ in findings()} == {"forged"}


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (lambda lines: lines, set()),
        (lambda lines: lines + lines[3:6], set()),
        (lambda lines: lines[:5] + lines[6:], {"removed"}),
        (lambda lines: [line.replace(b"alice", b"mallory") for line in lines], {"altered"}),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], {"reordered"}),
    ],
    ids=["whole", "delivered twice", "removed", "altered", "reordered"],
)
def test_file_is_verified_line_by_line(
    chain: list[Frame], tmp_path: Path, tamper: Callable[[list[bytes]], list[bytes]], found: set[str]
) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\n".join(tamper([json_line(frame) for frame in chain])) + b"\n")
    assert {finding.kind for finding in verify_files([path], [signing_key()], Summary(), print)} == found


def test_block_that_the_retention_period_cut_verifies_as_far_as_it_is_kept(
    stored: list[Frame], make_recorder: MakeRecorder, tmp_path: Path
) -> None:
    """It removed numbers 0 to 3, and says so. The records of the keeper have numbers up to 3."""
    keeper = make_recorder(key=signing_key(), directory=tmp_path / "keeper")
    (last_removed,) = (frame for frame in stored if orjson.loads(frame.body)["sequence"] == 3)
    chain = orjson.loads(last_removed.body)["chain"]
    begins = {chain: [4, last_removed.digest.hex()]}
    keeper.record(
        "retention_applied", {"before": "2023-01-01T00:00:00.000000Z", "removed": 4, "begins": begins}
    )
    keeper.close()
    DatabaseSink().deliver(next_batch(tmp_path / "keeper", {}, 100).frames)
    AuditRecord.objects.filter(chain=chain, sequence__lt=4)._raw_delete(AuditRecord.objects.db)
    assert findings() == []
    body = AuditRecord.objects.get(chain=chain, sequence=5).body
    change(5, body=body.replace("GET", "PUT"), method="PUT")
    assert findings() == [("altered", 5)]
    # Whoever claims such a cut for another block is found out.
    for number in range(8, 13):
        rewrite(number, lambda record: record | {"principal": "mallory", "block": [3, 10, ""]})
    assert ("altered", 8) in findings()


@pytest.mark.parametrize("kept", [14, 15, 16])
def test_chain_that_was_cut_off_within_a_block_is_found(stored: list[Frame], kept: int) -> None:
    AuditRecord.objects.filter(sequence__gt=kept)._raw_delete(AuditRecord.objects.db)
    assert findings() == ([] if kept == 14 else [("removed", kept)])
