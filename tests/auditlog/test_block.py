"""A block's records can be read one by one and put together again, to the byte."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog import block
from auditlog.block import BlockInconsistent, Occurrence
from auditlog.carrier import carry_here
from auditlog.chain import START, link
from auditlog.delivery import Delivery, Undeliverable
from auditlog.models import AuditRecord
from auditlog.reader import next_batch
from auditlog.redaction import Redaction
from auditlog.repeating import Repeating
from auditlog.segment import Frame, read_frames
from auditlog.spool import segment_paths
from tests.auditlog.blocks import occurrence, record_turn, turn, words
from tests.auditlog.conftest import MakeRecorder
from tests.auditlog.spooled import spooled_frames, spooled_records

CHAIN = "018f3f3e-7c52-7f0a-9a3e-3f2a7a1b2c3d"
PLAIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), max_size=40)
OCCURRENCES = st.tuples(
    st.integers(1_600_000_000_000_000, 4_000_000_000_000_000),
    PLAIN.filter(len),
    # Never the request id: that is said by None.
    st.none() | PLAIN.map(lambda text: "t" * 41 + text),
    PLAIN,
    st.none() | PLAIN,
    st.integers(100, 999),
    st.integers(0, 2**50),
    st.integers(0, 2**50),
    st.integers(0, 10**12),
    st.none() | st.integers(0, 10**12),
)
WORDS = st.dictionaries(
    st.sampled_from(["method", "principal", "grant", "route", "rule"]), PLAIN | st.integers(0, 2**40)
)


def encoded(
    first: int, said: list[dict[str, Any]], occurrences: list[Occurrence], node: str = "n-1"
) -> bytes:
    """Occurrence number i has the i-th words, and each text of words stands once, as in a turn's notes."""
    known: dict[bytes, int] = {}
    which = [
        known.setdefault(orjson.dumps(said[index % len(said)]), len(known))
        for index in range(len(occurrences))
    ]
    source = orjson.Fragment(orjson.dumps([node, CHAIN]))
    return block.encode(source, first, [orjson.Fragment(text) for text in known], which, occurrences)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**31),
    st.lists(WORDS, min_size=1),
    st.lists(OCCURRENCES, min_size=1, max_size=12),
    st.text(),
)
def test_expanded_records_collapse_to_the_same_bytes(
    first: int, said: list[dict[str, Any]], occurrences: list[Occurrence], node: str
) -> None:
    node = node.encode("utf-8", "replace").decode()
    body = encoded(first, said, occurrences, node)
    frames = block.expand(Frame(b"h" * 32, body))
    records = [orjson.loads(frame.body) for frame in frames]
    assert block.records_in(body) == len(frames) == len(occurrences)
    assert {frame.digest for frame in frames} == {b"h" * 32}
    assert [record["sequence"] for record in records] == list(range(first, first + len(frames)))
    assert len({record["event_id"] for record in records}) == len(frames)
    for frame, record in zip(frames, records, strict=True):
        assert block.is_as_expanded(frame.body, record)
        assert record["block"][:2] == [first, len(frames)]
    assert block.collapse(records) == body


def test_record_says_in_readable_units_what_the_block_holds() -> None:
    body = encoded(40, [words()], [occurrence(0, query="limit=5")])
    (frame,) = block.expand(Frame(bytes(32), body))
    record = orjson.loads(frame.body)
    checksum = record.pop("block")[2]
    assert len(checksum) == 8
    assert record == words() | {
        "schema": 1,
        "event_id": "018bcfe5-68fa-7f0a-9a3e-3f2a00000028",
        "time": "2023-11-14T22:13:20.250001Z",
        "event": "request_completed",
        "node": "n-1",
        "chain": CHAIN,
        "sequence": 40,
        "request_id": occurrence(0)[1],
        "trace_id": occurrence(0)[1],
        "path": "/api/orders/7",
        "query": "limit=5",
        "status": 200,
        "bytes_in": 0,
        "bytes_out": 1024,
        "duration_ms": 3.217,
        "upstream_ms": 2.81,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"event_id": "018bcfe5-68fa-7f0a-9a3e-3f2a0000002a"},
        {"node": "n-2"},
        {"schema": 2},
        {"event": "request_failed"},
        {"time": "2023-11-14T22:13:20.250Z"},
        {"time": "yesterday"},
        {"duration_ms": "3"},
        {"path": None, "request_id": ["a"]},
    ],
    ids=lambda change: "-".join(change),
)
def test_record_that_contradicts_its_block_does_not_collapse_to_it(change: dict[str, Any]) -> None:
    body = encoded(40, [words()], [occurrence(number) for number in range(3)])
    records = [orjson.loads(frame.body) for frame in block.expand(Frame(bytes(32), body))]
    records[1] |= change
    try:
        assert block.collapse(records) != body
    except BlockInconsistent:
        pass


@pytest.mark.parametrize(
    "body",
    [
        b"[1,2]",
        b"[1,1,[],0,[],[],[]",
        b'[1,1,["n"],0,[{}],[0],[[1]]]',
        b'[1,1,["n","c"],0,[{}],[7],[[1,"","","",null,200,0,0,0,0]]]',
        b'[2,1,["n","c"],0,[{}],[0],[]]',
        b"[",
        b"",
    ],
)
def test_frame_that_is_no_block_is_left_as_it_is(body: bytes) -> None:
    frame = Frame(bytes(32), body)
    assert block.expand(frame) == [frame]
    assert block.records_in(body) >= 1


# --- from the recorder to the reader --------------------------------------------------------


def test_turn_is_one_frame_linked_like_any_other(make_recorder: MakeRecorder, spool: Path) -> None:
    recorder = make_recorder()
    record_turn(recorder, 7)
    recorder.record("login_failed", {"principal": "eve"})
    recorder.close()
    (path,) = segment_paths(spool)
    descriptor = os.open(path, os.O_RDONLY)
    frames = read_frames(descriptor, 0, 100).frames
    os.close(descriptor)
    assert [block.records_in(frame.body) for frame in frames] == [1, 7, 1, 1, 1]
    head = START
    for frame in frames:
        assert frame.digest == link(head, frame.body)
        head = frame.digest
    records = spooled_records(spool)
    assert [record["sequence"] for record in records] == list(range(11))
    assert [record["principal"] for record in records[1:8]] == ["alice", "bob"] * 3 + ["alice"]
    assert recorder.counters()["recorded"] == 8


def test_words_that_are_not_plain_get_a_record_of_their_own(make_recorder: MakeRecorder, spool: Path) -> None:
    recorder = make_recorder()
    plain, suspicious = occurrence(0), occurrence(1, path="/token=hunter2")
    requests: list[Repeating] = [
        ("k", "alice", plain, b""),
        ("k", "alice", suspicious, b""),
        ("k", "alice", occurrence(2), b"token=hunter2"),
    ]
    assert recorder.record_turn(words, requests) == (True, [1])
    records = spooled_records(spool, "request_completed")
    assert {record["path"] for record in records} == {"/api/orders/7", "/token=***"}
    assert ["block" in record for record in records].count(True) == 2
    assert b"hunter2" not in b"".join(path.read_bytes() for path in segment_paths(spool))


def test_request_that_can_not_be_worked_out_is_counted_and_the_others_are_stored(
    make_recorder: MakeRecorder, spool: Path
) -> None:
    def sometimes(principal: str) -> dict[str, Any]:
        return words(principal) if principal != "eve" else {}[principal]

    recorder = make_recorder()
    requests = turn(range(6), principals=("alice", "eve", "bob"))
    assert recorder.record_turn(sometimes, requests) == (False, [1, 4])
    assert recorder.counters()["dropped"] == 2
    assert len(spooled_records(spool, "request_completed")) == 4


def test_turn_without_a_request_stores_nothing(make_recorder: MakeRecorder, spool: Path) -> None:
    assert make_recorder().record_turn(words, []) == (True, [])
    assert spooled_frames(spool) == []


def test_turn_that_is_too_large_becomes_several_blocks(make_recorder: MakeRecorder, spool: Path) -> None:
    recorder = make_recorder(segment_bytes=8192)
    record_turn(recorder, 200, principals=[f"user{number}" for number in range(40)])
    recorder.close()
    records = spooled_records(spool)
    assert [record["sequence"] for record in records] == list(range(203))
    assert [record["principal"] for record in records[1:201]] == [f"user{n % 40}" for n in range(200)]
    head = START
    for path in segment_paths(spool):
        descriptor = os.open(path, os.O_RDONLY)
        for frame in read_frames(descriptor, 0, 1000).frames:
            assert frame.digest == link(head, frame.body)
            head = frame.digest
        os.close(descriptor)


def test_long_turn_becomes_blocks_of_a_bounded_size(make_recorder: MakeRecorder, spool: Path) -> None:
    recorder = make_recorder(segment_bytes=1 << 20)
    record_turn(recorder, 2 * block.MOST_RECORDS + 3)
    counts = {record["block"][1] for record in spooled_records(spool, "request_completed")}
    assert counts == {block.MOST_RECORDS, 3}


def test_block_that_finds_no_room_is_counted_record_by_record(
    make_recorder: MakeRecorder, spool: Path
) -> None:
    recorder = make_recorder(limit_bytes=1)
    assert recorder.record_turn(words, turn(range(5)))[0] is False
    assert recorder.counters()["dropped"] == 5
    assert spooled_frames(spool) == []


def test_many_different_words_are_forgotten_without_harm(make_recorder: MakeRecorder, spool: Path) -> None:
    recorder = make_recorder(segment_bytes=1 << 20)
    for number in range(30):
        users = [f"user{number * 100 + user}" for user in range(100)]
        # Each twice in its turn: a text of words must not stand in a block again.
        recorder.record_turn(words, turn([n for n in range(100) for _ in range(2)], users))
    for path in segment_paths(spool):
        descriptor = os.open(path, os.O_RDONLY)
        for frame in read_frames(descriptor, 0, 1 << 30).frames:
            if block.records_in(frame.body) > 1:
                records = [orjson.loads(one.body) for one in block.expand(frame)]
                assert block.collapse(records) == frame.body
        os.close(descriptor)
    assert len(spooled_records(spool, "request_completed")) == 6000


@pytest.mark.parametrize("limit", [1, 6, 7, 8, 20, 1000])
def test_batch_never_parts_a_block(make_recorder: MakeRecorder, spool: Path, limit: int) -> None:
    recorder = make_recorder()
    for _ in range(4):
        record_turn(recorder, 7)
    recorder.close()
    offsets: dict[str, int] = {}
    sequences: list[int] = []
    while (batch := next_batch(spool, offsets, limit)).frames:
        assert len(batch.frames) <= max(limit, 7)
        records = [orjson.loads(frame.body) for frame in batch.frames]
        sequences += [record["sequence"] for record in records]
        last = records[-1].get("block")
        assert last is None or records[-1]["sequence"] == last[0] + last[1] - 1
        offsets |= batch.offsets
    assert sequences == list(range(31))


@pytest.mark.parametrize("limit", [10, 11, 12, 13, 50, 1000])
def test_chain_keeps_its_order_where_a_block_does_not_fit_the_batch_and_a_segment_follows(
    make_recorder: MakeRecorder, spool: Path, limit: int
) -> None:
    recorder = make_recorder()
    for _ in range(300):
        record_turn(recorder, 7)
        record_turn(recorder, 1)
    recorder.close()
    assert len(segment_paths(spool)) > 1
    offsets: dict[str, int] = {}
    sequences: list[int] = []
    while (batch := next_batch(spool, offsets, limit)).frames:
        sequences += [orjson.loads(frame.body)["sequence"] for frame in batch.frames]
        offsets |= batch.offsets
    assert sequences == list(range(len(sequences)))


def test_torn_block_is_no_record_at_all(make_recorder: MakeRecorder, spool: Path) -> None:
    recorder = make_recorder()
    record_turn(recorder, 3)
    record_turn(recorder, 5)
    (path,) = segment_paths(spool)
    data = path.read_bytes().rstrip(b"\0")
    path.write_bytes(data[:-20])
    assert len(spooled_records(spool, "request_completed")) == 3


@pytest.mark.django_db
def test_block_of_a_later_version_is_set_aside_and_holds_nothing_up(
    make_recorder: MakeRecorder, spool: Path
) -> None:
    """As after a step back to this version."""
    recorder = make_recorder()
    record_turn(recorder, 3)
    aside: list[Undeliverable] = []
    delivery = Delivery(spool, "database", carry_here, threading.Event(), aside.append, backoff_seconds=0)
    assert delivery.step()
    recorder._store(b'[2,3,{"anything":"else"}]', 3)
    assert delivery.step()
    record_turn(recorder, 2)
    assert delivery.step()
    assert [(one.sink, one.count) for one in aside] == [("database", 1)]
    assert AuditRecord.objects.filter(event="request_completed").count() == 5


def test_threads_that_record_beside_the_loop_lose_nothing(
    make_recorder: MakeRecorder, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of words and addresses is forgotten all the time here, in the middle of its use."""
    monkeypatch.setattr("auditlog.record.WORDS_REMEMBERED", 1)
    monkeypatch.setattr("auditlog.repeating.WORDS_REMEMBERED", 1)
    monkeypatch.setattr("auditlog.redaction.ADDRESSES_REMEMBERED", 1)
    recorder = make_recorder(
        redaction=Redaction(salt=b"salt", ip="hash"), segment_bytes=1 << 20, limit_bytes=1 << 30
    )

    def addressed(number: int) -> dict[str, Any]:
        return words(f"user{number}") | {"client_ip": f"10.0.0.{number % 200}", "host": f"host{number}"}

    def beside() -> None:
        while the_loop.is_alive():
            recorder.record("request_completed", addressed(7))

    def loop() -> None:
        for first in range(0, 10_000, 10):
            recorder.record_turn(
                addressed, [(number, first + number, occurrence(number), b"") for number in range(10)]
            )

    the_loop = threading.Thread(target=loop)
    other = threading.Thread(target=beside)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        the_loop.start()
        other.start()
        the_loop.join()
        other.join()
    finally:
        sys.setswitchinterval(interval)
    assert recorder.counters()["dropped"] == 0
    recorder.close()
    records = spooled_records(spool)
    assert [record["sequence"] for record in records] == list(range(len(records)))
    assert sum("block" in record for record in records) == 10_000
