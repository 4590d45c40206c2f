"""Follow the records of this host as they are written, straight from its spool. Costs nothing unread.

The spool is all that the processes of a host share without a broker: a reader keeps the segments
open that it follows, so that one that is shipped and removed meanwhile is still read to its end.
"""

import heapq
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from auditlog.block import expand
from auditlog.query import records
from auditlog.record import LOG_KEEPING_EVENTS
from auditlog.segment import SegmentUnreadable, read_frames, read_header
from auditlog.spool import segment_paths

POLL_SECONDS = 0.25
# More than this in one poll are skipped and counted: nobody reads 4,000 lines a second.
MOST_AT_ONCE = 200
MOST_BEFORE = 200


class TailFilter(NamedTuple):
    """What a watcher wants to see; an empty text matches everything."""

    principal: str = ""
    route: str = ""
    decision: str = ""

    def matches(self, record: Mapping[str, Any]) -> bool:
        if record.get("event") in LOG_KEEPING_EVENTS:
            return False
        return all(
            not wanted or str(record.get(name) or "") == wanted
            for name, wanted in zip(self._fields, self, strict=True)
        )


class TailBatch(NamedTuple):
    records: list[dict[str, Any]]
    skipped: int


class SpoolTail:
    """The reading end of one watcher."""

    def __init__(self, directory: Path, wanted: TailFilter) -> None:
        self._directory = directory
        self._wanted = wanted
        # A watcher may leave while a thread still reads for it.
        self._lock = threading.Lock()
        self._closed = False
        self._open: dict[str, int] = {}
        self._offsets: dict[str, int] = {}
        # The first look reads what waits in the spool; it belongs to what was before. While a sink is down
        # that is more than memory holds.
        waiting = (record for record in self._read_new() if wanted.matches(record))
        self._waiting = heapq.nlargest(MOST_BEFORE, waiting, key=lambda record: record["event_id"])

    def before(self, count: int) -> list[dict[str, Any]]:
        """The newest `count` records up to the start, oldest first: from the database and the spool."""
        count = min(count, MOST_BEFORE)
        stored = records().exclude(event__in=LOG_KEEPING_EVENTS)
        for name, value in zip(TailFilter._fields, self._wanted, strict=True):
            stored = stored.filter(**{name: value}) if value else stored
        bodies = stored.order_by("-event_id").values_list("body", flat=True)[:count]
        found = {record["event_id"]: record for record in map(orjson.loads, bodies)}
        found |= {record["event_id"]: record for record in self._waiting}
        self._waiting = []
        return [found[identity] for identity in sorted(found)[-count:]] if count else []

    def poll(self) -> TailBatch:
        """What is new since the last look; of a flood the newest, and how many were left out."""
        with self._lock:
            if self._closed:
                return TailBatch([], 0)
            fresh = [record for record in self._read_new() if self._wanted.matches(record)]
        skipped = max(0, len(fresh) - MOST_AT_ONCE)
        return TailBatch(sorted(fresh[skipped:], key=lambda record: record["event_id"]), skipped)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()

    def _read_new(self) -> Iterator[dict[str, Any]]:
        present = {path.name: path for path in segment_paths(self._directory)}
        for name in present.keys() - self._open.keys():
            self._follow(present[name])
        for name, descriptor in sorted(self._open.items()):
            read = read_frames(descriptor, self._offsets[name], 1_000_000)
            self._offsets[name] = read.offset
            for frame in read.frames:
                for record in expand(frame):
                    yield orjson.loads(record.body)
            if name not in present:
                os.close(self._open.pop(name))
                del self._offsets[name]

    def _follow(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            read_header(descriptor)
        except SegmentUnreadable:
            os.close(descriptor)
            return
        self._open[path.name], self._offsets[path.name] = descriptor, 0
