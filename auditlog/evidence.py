"""Bring stored records to the verifier, chain by chain: from the database, or from files of lines."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from auditlog.chain import SigningKey
from auditlog.line_files import LinesFile, open_lines
from auditlog.models import AuditRecord
from auditlog.verification import (
    TELLING_EVENTS,
    ChainVerifier,
    Expectations,
    Finding,
    StoredRecord,
    Summary,
    missing_chains,
    read_body,
    vouched_for,
)

# Columns whose change would mislead a reader; the rest of them is `body` itself.
CHECKED_COLUMNS = (
    "time",
    "event",
    "node",
    "request_id",
    "principal",
    "route",
    "method",
    "path",
    "status",
    "decision",
    "client_ip",
)
_HASH_MEMBER = b',"hash":"'
_HASH_CHARACTERS = 64
# What a line that is none makes of its reading.
_NO_RECORD = (ValueError, KeyError, TypeError, OverflowError)


def verify_database(
    keys: Sequence[SigningKey], summary: Summary, progress: Callable[[int], None]
) -> Iterator[Finding]:
    """Walk all chains in the database."""
    expectations = Expectations()
    telling = AuditRecord.objects.filter(event__in=TELLING_EVENTS).order_by()
    for chain in telling.values_list("chain", flat=True).distinct():
        for record in vouched_for(_database_records(chain=chain), keys):
            expectations.learn(record)
    yield from _walk(_database_records(), keys, summary, expectations, progress)


def verify_files(
    paths: Sequence[Path], keys: Sequence[SigningKey], summary: Summary, progress: Callable[[int], None]
) -> Iterator[Finding]:
    """Walk the lines of exports or of a file sink, rotated and compressed ones together, in any order given.

    Holds a place a record in memory, not the records. Raises LinesUnreadable.
    """
    expectations, places = Expectations(may_hold_removed=True), list[Place]()
    with ExitStack() as stack:
        files = [stack.enter_context(open_lines(path)) for path in paths]
        files.sort(key=_begin_of)
        telling, late = set[str](), dict[Place, int]()
        last = dict[str, int]()
        for index, file in enumerate(files):
            yield from _read_file(index, file, places, telling, late, last)
        places.sort()
        yield from _reordered(files, places, late)
        by_chain = groupby(
            (place for place in places if place.chain in telling), key=lambda place: place.chain
        )
        for _, chain in by_chain:
            for record in vouched_for(_each_once(files, chain), keys):
                expectations.learn(record)
        yield from _walk(_each_once(files, places), keys, summary, expectations, progress)


class Place(NamedTuple):
    """Where a record stands."""

    chain: str
    sequence: int
    file: int
    offset: int


def _read_file(
    index: int,
    file: LinesFile,
    places: list[Place],
    telling: set[str],
    late: dict[Place, int],
    last: dict[str, int],
) -> Iterator[Finding]:
    """Note the places of its records, the chains that say something of others, and lines that come late."""
    newest, is_in_order_of_ids, late_here = "", True, dict[Place, int]()
    for number, offset, line in _lines_of(file):
        try:
            entry = _from_line(line)
        except _NO_RECORD as error:
            yield _about_broken(line, f"line {number} of {file.name} is no audit record: {error}")
            continue
        place = Place(sys.intern(entry.chain), entry.sequence, index, offset)
        places.append(place)
        if read_body(entry.body).get("event") in TELLING_EVENTS:
            telling.add(entry.chain)
        if entry.sequence < last.get(entry.chain, -1):
            late_here[place] = number
        last[entry.chain] = max(entry.sequence, last.get(entry.chain, -1))
        is_in_order_of_ids = is_in_order_of_ids and newest < entry.event_id
        newest = entry.event_id
    if not is_in_order_of_ids:
        # Else it is an export: where a clock was set back, event ids have another order than numbers.
        late |= late_here


def _reordered(
    files: Sequence[LinesFile], places: Sequence[Place], late: Mapping[Place, int]
) -> Iterator[Finding]:
    """Records that come late. A batch, or a whole file, that came twice is no finding: the first one counts."""
    if not late:
        return
    for _, same in groupby(places, key=lambda place: (place.chain, place.sequence)):
        place = next(same)
        if place in late:
            entry, name = _read_at(files, place), files[place.file].name
            text = f"line {late[place]} of {name} stands after a later record of its chain"
            yield Finding("reordered", entry.chain, entry.sequence, entry.event_id, text)


def _lines_of(file: LinesFile) -> Iterator[tuple[int, int, bytes]]:
    """Number, place and text of each line."""
    offset = 0
    file.seek(0)
    for number, line in enumerate(file, start=1):
        yield number, offset, line.rstrip(b"\n")
        offset += len(line)


def _begin_of(file: LinesFile) -> str:
    """What orders files: the event id of the first record, which begins with its time."""
    for _, _, line in _lines_of(file):
        try:
            return _from_line(line).event_id
        except _NO_RECORD:
            continue
    return ""


def _each_once(files: Sequence[LinesFile], places: Iterable[Place]) -> Iterator[StoredRecord]:
    """A sink that can't look up may hold a record twice: the same record is no finding."""
    before = None
    for place in places:
        entry = _read_at(files, place)
        if entry != before:
            yield entry
        before = entry


def _read_at(files: Sequence[LinesFile], place: Place) -> StoredRecord:
    file = files[place.file]
    file.seek(place.offset)
    return _from_line(file.readline().rstrip(b"\n"))


def _walk(
    records: Iterable[StoredRecord],
    keys: Sequence[SigningKey],
    summary: Summary,
    expectations: Expectations,
    progress: Callable[[int], None],
) -> Iterator[Finding]:
    seen = set()
    for chain, members in groupby(records, key=lambda stored: stored.chain):
        seen.add(chain)
        verifier = ChainVerifier(chain, keys, summary, expectations)
        for stored in members:
            yield from verifier.check(stored)
            if summary.records % 1000 == 0:
                progress(summary.records)
        yield from verifier.finish()
    yield from missing_chains(expectations, seen)


def _database_records(**of: Any) -> Iterator[StoredRecord]:
    fields = ("chain", "sequence", "event_id", "body", "hash", *CHECKED_COLUMNS)
    rows = AuditRecord.objects.filter(**of).order_by("chain", "sequence").values_list(*fields)
    for chain, sequence, event_id, body, digest, time, *columns in rows.iterator(chunk_size=2000):
        yield StoredRecord(
            str(chain),
            sequence,
            str(event_id),
            body.encode(),
            bytes(digest),
            dict(zip(CHECKED_COLUMNS, (_time_text(time), *columns), strict=True)),
        )


def _time_text(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _from_line(line: bytes) -> StoredRecord:
    """Undo sinks.sink.json_line, to the letter. Raises ValueError, KeyError, TypeError or OverflowError."""
    position = len(line) - len(_HASH_MEMBER) - _HASH_CHARACTERS - 2
    if line[position : position + len(_HASH_MEMBER)] != _HASH_MEMBER:
        raise ValueError("no hash at its end")
    record = orjson.loads(line)
    body = line[:position] + b"}"
    chain, sequence, event_id = str(record["chain"]), int(record["sequence"]), str(record["event_id"])
    digest = bytes.fromhex(record["hash"])
    if digest.hex() != record["hash"]:
        raise ValueError("its hash is not written as it was")
    return StoredRecord(chain, sequence, event_id, body, digest, {})


def _about_broken(line: bytes, text: str) -> Finding:
    """Named by what it still says."""
    record = read_body(line)
    sequence = record.get("sequence")
    return Finding(
        "altered",
        str(record.get("chain", "")),
        sequence if isinstance(sequence, int) else None,
        str(record.get("event_id", "")),
        text,
    )
