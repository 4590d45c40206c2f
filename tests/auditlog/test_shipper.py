"""Records reach each sink once, whatever is killed or down in between."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditlog.cursor import Cursor
from auditlog.delivery import Delivery, Undeliverable
from auditlog.reader import next_batch
from auditlog.retirement import Retirement
from auditlog.segment import SUFFIX, Frame
from auditlog.sinks.sink import SinkRejected, SinkUnavailable
from auditlog.spool import segment_paths
from tests.auditlog.conftest import REQUEST, MakeRecorder


class StubDestination:
    """A far end that keeps what it gets and fails as it is told to."""

    def __init__(self) -> None:
        self.stored: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self.faults: list[Callable[[Sequence[Frame]], None]] = []
        self.refuses: set[int] = set()

    def carry(self, sink: str, frames: Sequence[Frame]) -> None:
        self.calls.append(len(frames))
        if self.faults:
            self.faults.pop(0)(frames)
        records = [orjson.loads(frame.body) for frame in frames]
        reasons = {
            index: "poison" for index, record in enumerate(records) if record["sequence"] in self.refuses
        }
        self.stored += [record for index, record in enumerate(records) if index not in reasons]
        if reasons:
            raise SinkRejected(reasons)

    @property
    def sequences(self) -> list[int]:
        return [record["sequence"] for record in self.stored]


def unavailable(frames: Sequence[Frame]) -> None:
    raise SinkUnavailable("down")


@pytest.fixture
def destination() -> StubDestination:
    return StubDestination()


@pytest.fixture
def aside() -> list[Undeliverable]:
    return []


@pytest.fixture
def deliver(
    spool: Path, destination: StubDestination, aside: list[Undeliverable]
) -> Iterator[Callable[[], Delivery]]:
    def make() -> Delivery:
        return Delivery(
            spool, "stub", destination.carry, threading.Event(), aside.append, backoff_seconds=0.001
        )

    return make


def record_many(make_recorder: MakeRecorder, count: int, **options: Any) -> None:
    recorder = make_recorder(**options)
    for number in range(count):
        recorder.record("request_completed", {**REQUEST, "status": number})


def test_records_are_delivered_in_order_while_the_writer_lives(
    make_recorder: MakeRecorder, deliver: Callable[[], Delivery], destination: StubDestination
) -> None:
    recorder = make_recorder(segment_bytes=8192)
    delivery = deliver()
    for _ in range(3):
        for _ in range(40):
            recorder.record("request_completed", REQUEST)
        assert delivery.step()
        assert not delivery.step()
    assert destination.sequences == list(range(121))


def test_batch_holds_at_most_a_thousand(
    make_recorder: MakeRecorder, deliver: Callable[[], Delivery], destination: StubDestination
) -> None:
    record_many(make_recorder, 2500, segment_bytes=1 << 20)
    delivery = deliver()
    while delivery.step():
        pass
    assert max(destination.calls) == 1000
    assert destination.sequences == list(range(len(destination.sequences)))


def test_destination_that_is_down_is_tried_until_it_is_back(
    make_recorder: MakeRecorder,
    deliver: Callable[[], Delivery],
    destination: StubDestination,
    aside: list[Undeliverable],
) -> None:
    record_many(make_recorder, 10)
    destination.faults = [unavailable] * 8
    delivery = deliver()
    assert delivery.step()
    assert destination.sequences == list(range(11))
    assert (delivery.state.failed, delivery.state.last_error, aside) == (8, "", [])


def test_lag_grows_while_a_destination_is_down_and_is_nothing_when_all_is_delivered(
    make_recorder: MakeRecorder, deliver: Callable[[], Delivery], destination: StubDestination
) -> None:
    recorder = make_recorder()
    recorder.record("request_completed", REQUEST, now=time.time() - 100)
    delivery, lags = deliver(), list[float]()

    def unavailable_for_a_while(frames: Sequence[Frame]) -> None:
        lags.append(delivery.state.lag_seconds)
        raise SinkUnavailable("down")

    destination.faults = [unavailable_for_a_while] * 3
    while delivery.step():
        pass
    assert 100 <= lags[0] < lags[1] < lags[2] < 110
    assert delivery.state.lag_seconds == 0


def test_cursor_moves_only_after_the_sink_has_acknowledged(
    make_recorder: MakeRecorder, deliver: Callable[[], Delivery], destination: StubDestination, spool: Path
) -> None:
    record_many(make_recorder, 5)

    def stored_but_killed(frames: Sequence[Frame]) -> None:
        destination.stored += [orjson.loads(frame.body) for frame in frames]
        raise KeyboardInterrupt

    destination.faults = [stored_but_killed]
    with pytest.raises(KeyboardInterrupt):
        deliver().step()
    assert Cursor.load(spool / "cursor-stub.json").offsets == {}
    # The next shipper offers the same records again: event ids tell them.
    deliver().step()
    ids = [record["event_id"] for record in destination.stored]
    assert (len(ids), len(set(ids))) == (12, 6)


def test_records_that_are_refused_are_set_aside_and_the_rest_delivered(
    make_recorder: MakeRecorder,
    deliver: Callable[[], Delivery],
    destination: StubDestination,
    aside: list[Undeliverable],
    spool: Path,
) -> None:
    record_many(make_recorder, 20)
    destination.refuses = {3, 7}
    delivery = deliver()
    assert delivery.step()
    assert destination.sequences == [number for number in range(21) if number not in (3, 7)]
    assert aside == [Undeliverable("stub", 2, "2 records refused: poison")]
    kept = (spool / "undeliverable" / "stub.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["sequence"] for line in kept] == [3, 7]
    assert (delivery.cursor.delivered, delivery.cursor.undeliverable) == (19, 2)


def test_one_poisoned_record_is_found_when_the_sink_only_fails(
    make_recorder: MakeRecorder,
    spool: Path,
    aside: list[Undeliverable],
) -> None:
    record_many(make_recorder, 64)
    stored: list[int] = []

    def carry(sink: str, frames: Sequence[Frame]) -> None:
        sequences = [orjson.loads(frame.body)["sequence"] for frame in frames]
        if 13 in sequences:
            raise TypeError("a fault in the sink")
        stored.extend(sequences)

    delivery = Delivery(spool, "stub", carry, threading.Event(), aside.append, backoff_seconds=0.001)
    assert delivery.step()
    assert stored == [number for number in range(65) if number != 13]
    assert [entry.count for entry in aside] == [1]


def test_delivery_stops_in_the_middle_of_an_outage(
    make_recorder: MakeRecorder, spool: Path, aside: list[Undeliverable]
) -> None:
    record_many(make_recorder, 5)
    stop = threading.Event()

    def carry(sink: str, frames: Sequence[Frame]) -> None:
        stop.set()
        raise SinkUnavailable("down")

    delivery = Delivery(spool, "stub", carry, stop, aside.append, backoff_seconds=30)
    assert not delivery.step()
    assert delivery.cursor.offsets == {}


def test_damaged_cursor_delivers_again_instead_of_never(
    make_recorder: MakeRecorder, deliver: Callable[[], Delivery], destination: StubDestination, spool: Path
) -> None:
    record_many(make_recorder, 5)
    (spool / "cursor-stub.json").write_text("{torn")
    assert deliver().step()
    assert len(destination.stored) == 6


# --- retirement ----------------------------------------------------------------------------


class Reports(list[tuple[str, dict[str, Any]]]):
    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        self.append((event, fields))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self]


def read_all(spool: Path) -> Cursor:
    return Cursor(spool / "cursor-x.json", offsets=next_batch(spool, {}, 1 << 30).offsets)


def test_segments_go_when_every_sink_has_them(make_recorder: MakeRecorder, spool: Path) -> None:
    record_many(make_recorder, 100, segment_bytes=8192)
    reports = Reports()
    retirement = Retirement(spool, reports, 1e9, {})
    behind = Cursor(spool / "cursor-y.json")
    done = read_all(spool)
    assert retirement.sweep([done, behind]) == set()
    gone = retirement.sweep([done, read_all(spool)])
    # The open one stays: its writer goes on.
    assert len(gone) >= 2
    assert len(list(spool.glob(f"*{SUFFIX}"))) == 1
    assert reports.events == []


def test_torn_tail_of_a_dead_process_is_reported_and_adopted(
    make_recorder: MakeRecorder, spool: Path
) -> None:
    recorder = make_recorder()
    for _ in range(10):
        recorder.record("request_completed", REQUEST)
    segment = recorder._segment
    assert segment is not None
    start = segment.offset
    recorder.record("request_completed", REQUEST)
    # The process dies while the copy of the last record is half done.
    segment._map[start + 60 : segment.offset] = bytes(segment.offset - start - 60)
    recorder.abandon()
    assert [orjson.loads(frame.body)["sequence"] for frame in next_batch(spool, {}, 100).frames] == list(
        range(11)
    )
    reports = Reports()
    assert len(Retirement(spool, reports, 1e9, {}).sweep([read_all(spool)])) == 1
    assert reports.events == ["segment_adopted"]
    assert reports[0][1]["torn_bytes"] > 0


def test_empty_last_segment_of_a_killed_process_waits_for_those_before_it(
    make_recorder: MakeRecorder, spool: Path
) -> None:
    recorder = make_recorder()
    recorder.record("request_completed", REQUEST)
    recorder._roll()
    recorder.abandon()
    assert len(segment_paths(spool)) == 2
    reports = Reports()
    retirement = Retirement(spool, reports, 1e9, {})
    assert retirement.sweep([Cursor(spool / "cursor-x.json")]) == set()
    assert len(retirement.sweep([read_all(spool)])) == 2
    assert "sequence_gap" not in reports.events


@pytest.mark.parametrize("moment", ["before the removal", "after it"])
def test_shipper_that_is_killed_while_it_removes_finds_no_gap(
    make_recorder: MakeRecorder, spool: Path, moment: str
) -> None:
    recorder = make_recorder()
    recorder.record("request_completed", REQUEST)
    recorder._roll()
    recorder.record("request_completed", REQUEST)
    recorder.close()
    first, second = segment_paths(spool)
    data, cursor, saved = first.read_bytes(), read_all(spool), dict[str, int]()
    second_data = second.read_bytes()
    second.unlink()
    retirement = Retirement(spool, Reports(), 1e9, {}, lambda: saved.update(retirement.expected))
    assert first.name in retirement.sweep([cursor])
    if moment == "before the removal":
        first.write_bytes(data)
    second.write_bytes(second_data)
    reports = Reports()
    Retirement(spool, reports, 1e9, saved).sweep([cursor])
    assert reports.events == []
    assert segment_paths(spool) == []


def test_sealed_segment_that_can_not_be_read_to_its_end_is_kept_and_reported(
    make_recorder: MakeRecorder, spool: Path
) -> None:
    recorder = make_recorder()
    for _ in range(10):
        recorder.record("request_completed", REQUEST)
    recorder.close()
    (path,) = segment_paths(spool)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    reports = Reports()
    assert Retirement(spool, reports, 1e9, {}).sweep([read_all(spool)]) == {path.name}
    assert reports.events == ["segment_damaged"]
    assert (spool / "damaged" / path.name).read_bytes() == data


def test_segment_that_is_missing_from_a_chain_is_reported(make_recorder: MakeRecorder, spool: Path) -> None:
    record_many(make_recorder, 100, segment_bytes=8192)
    second = sorted(spool.glob(f"*{SUFFIX}"))[1]
    second.unlink()
    reports = Reports()
    Retirement(spool, reports, 1e9, {}).sweep([read_all(spool)])
    assert reports.events == ["sequence_gap"]
    assert reports[0][1]["expected"] < reports[0][1]["found"]


def test_segment_too_old_for_a_dead_sink_is_given_up_and_reported(
    make_recorder: MakeRecorder, spool: Path
) -> None:
    record_many(make_recorder, 100, segment_bytes=8192)
    reports = Reports()
    gone = Retirement(spool, reports, -1.0, {}).sweep([read_all(spool), Cursor(spool / "cursor-y.json")])
    assert gone
    assert set(reports.events) == {"spool_expired"}


def test_file_that_is_no_segment_is_put_by(spool: Path) -> None:
    spool.mkdir()
    (spool / f"junk{SUFFIX}").write_bytes(b"junk" * 100)
    reports = Reports()
    Retirement(spool, reports, 1e9, {}).sweep([Cursor(spool / "cursor-y.json")])
    assert reports.events == ["segment_damaged"]
    assert (spool / "damaged" / f"junk{SUFFIX}").exists()
