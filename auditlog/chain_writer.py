"""Write one chain of records into the spool: encode, link, append, and keep house beside it.

A record costs no system call and never waits for a disk; what can't be stored is counted, and the
count becomes a record itself as soon as there is room again. Knows no settings.
"""

import asyncio
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orjson import Fragment

from auditlog.block import EVENT, MOST_RECORDS, Occurrence
from auditlog.block import encode as encode_block
from auditlog.chain import OPENED, START, SigningKey, link
from auditlog.drops import Drops
from auditlog.record import RecordEncoder, new_chain_id
from auditlog.redaction import Redaction
from auditlog.repeating import Repeating, RepeatingRecords, fields_of
from auditlog.segment import SegmentWriter
from auditlog.spool import SpoolFull, prepare_directory, spool_bytes

logger = logging.getLogger("gatehouse.audit")

CHECKPOINT_RECORDS = 1000
CHECKPOINT_SECONDS = 10.0
# After a failed allocation the next attempt waits: a full disk must not cost a system call a request.
RETRY_SECONDS = 1.0
TICK_SECONDS = 0.5
FSYNC_SECONDS = 1.0


class AuditUnavailable(Exception):
    """The record can't be stored: a route that requires the audit must refuse."""


class Recorder:
    """The writing end of one process: one chain, one open segment and one ready behind it."""

    def __init__(
        self,
        directory: Path,
        node: str,
        redaction: Redaction,
        key: SigningKey,
        segment_bytes: int,
        limit_bytes: int,
        fsync: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self.chain = new_chain_id(clock(), secrets.randbits(74))
        self.recorded = self.failed_allocations = 0
        self.fsync = fsync
        self._clock = clock
        self._key = key
        self._segment_bytes, self._limit_bytes = segment_bytes, limit_bytes
        self._encoder = RecordEncoder(node, self.chain, redaction)
        self._source = self._encoder.source()
        # With an encoder of its own: it takes notes without the lock, and an encoder remembers words.
        self._notes = RepeatingRecords(RecordEncoder(node, self.chain, redaction))
        self._lock = threading.RLock()
        self._head, self._sequence = START, 0
        self._segment: SegmentWriter | None = None
        self._spare: SegmentWriter | None = None
        self._retired: list[SegmentWriter] = []
        self._number = 0
        self._retry_at = 0.0
        self._drops = Drops()
        self._since_checkpoint, self._checkpoint_at = 0, clock()
        self._unsynced = False
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._keep_house, name="audit-spool", daemon=True)

    @property
    def dropped(self) -> int:
        """Records that are lost."""
        return self._drops.total

    # --- the way of a record ------------------------------------------------------------------

    def record(self, event: str, fields: dict[str, Any], now: float | None = None) -> bool:
        """Store one record; False (and one more counted drop) when it can't be."""
        if now is None:
            now = self._clock()
        with self._lock:
            try:
                if self._segment is None or self._drops.unreported:
                    self._recover(now)
                self._append(event, fields, now)
            except Exception as error:
                # The outermost edge of the audit: whatever it is, the answer must go out.
                self._drops.count(error, now, 1)
                return False
            self._recorded(1, now)
        return True

    # Requests like others before them: from the thread of one event loop only.

    def record_turn(
        self, repeated: Callable[[Any], dict[str, Any]], requests: Sequence[Repeating]
    ) -> tuple[bool, list[int]]:
        """Store the requests that were answered in one turn of the loop, before an answer goes out; never raises.

        Whether all were stored, and the positions of those whose words are not plain (RepeatingRecords.note).
        """
        if len(requests) > MOST_RECORDS:
            return self._record_long_turn(repeated, requests)
        alone, words, which, occurrences = self._notes.note(repeated, requests)
        stored = True
        if which:
            with self._lock:
                stored = self._store_block(words, which, occurrences)
        for position in alone:
            stored = self._record_alone(repeated, requests[position]) and stored
        return stored, alone

    def _record_long_turn(
        self, repeated: Callable[[Any], dict[str, Any]], requests: Sequence[Repeating]
    ) -> tuple[bool, list[int]]:
        stored, alone = True, list[int]()
        for first in range(0, len(requests), MOST_RECORDS):
            part_stored, part_alone = self.record_turn(repeated, requests[first : first + MOST_RECORDS])
            stored &= part_stored
            alone += [first + position for position in part_alone]
        return stored, alone

    def _record_alone(self, repeated: Callable[[Any], dict[str, Any]], request: Repeating) -> bool:
        _, subject, occurrence, query = request
        now = occurrence[0] / 1_000_000
        try:
            fields = repeated(subject) | fields_of(occurrence, query)
        except Exception as error:
            with self._lock:
                self._drops.count(error, now, 1)
            return False
        return self.record(EVENT, fields, now)

    def _store_block(self, words: list[Fragment], which: list[int], occurrences: list[Occurrence]) -> bool:
        count, now = len(which), occurrences[-1][0] / 1_000_000
        try:
            if self._segment is None or self._drops.unreported:
                self._recover(now)
            body = encode_block(self._source, self._sequence, words, which, occurrences)
            if len(body) > self._segment_bytes // 2 and count > 1:
                return self._store_halves(words, which, occurrences)
            self._store(body, count)
        except Exception as error:
            self._drops.count(error, now, count)
            return False
        self._recorded(count, now)
        return True

    def _store_halves(self, words: list[Fragment], which: list[int], occurrences: list[Occurrence]) -> bool:
        stored = True
        for half in (slice(None, len(which) // 2), slice(len(which) // 2, None)):
            kept = list(dict.fromkeys(which[half]))
            pointers = [kept.index(index) for index in which[half]]
            stored &= self._store_block([words[index] for index in kept], pointers, occurrences[half])
        return stored

    def _recorded(self, count: int, now: float) -> None:
        self.recorded += count
        self._since_checkpoint += count
        if self._since_checkpoint >= CHECKPOINT_RECORDS:
            self._checkpoint(now)

    def _append(self, event: str, fields: dict[str, Any], now: float) -> None:
        self._store(self._encoder.encode(event, fields, now, self._sequence), 1)

    def _store(self, body: bytes, records: int) -> None:
        digest = link(self._head, body)
        if not self._segment.append(digest, body):  # type: ignore[union-attr]
            self._roll()
            if not self._segment.append(digest, body):  # type: ignore[union-attr]
                raise ValueError("the record is larger than a segment")
        self._head = digest
        self._sequence += records
        self._unsynced = True

    def _recover(self, now: float) -> None:
        """Open the first segment or one after a failure, and report what was dropped meanwhile."""
        if self._segment is None:
            if now < self._retry_at:
                raise SpoolFull(self._drops.reason)
            self._roll()
        if self._sequence == 0:
            signature = self._key.sign(str(self.chain), 0, START, OPENED)
            opened = {"pid": os.getpid(), "key_id": self._key.key_id, "signature": signature}
            self._append("chain_opened", opened, now)
        if self._drops.unreported:
            self._append("records_dropped", self._drops.report(), now)
            self._drops.reported()

    def _roll(self) -> None:
        """Go on in the next segment. Raises OSError when there is none to be had."""
        old = self._segment
        if old is not None:
            old.seal()
            self._retired.append(old)
            self._segment = None
        following, self._spare = self._spare, None
        if following is None:
            following = self._allocate()
        following.begin(self._sequence, self._head)
        self._segment = following
        self._wake.set()

    def _allocate(self) -> SegmentWriter:
        try:
            prepare_directory(self.directory)
            if spool_bytes(self.directory) + self._segment_bytes > self._limit_bytes:
                raise SpoolFull("the spool has reached its bound")
            self._number += 1
            return SegmentWriter(self.directory, self.chain, self._number, self._segment_bytes)
        except OSError:
            self.failed_allocations += 1
            self._retry_at = self._clock() + RETRY_SECONDS
            raise

    def has_room(self) -> bool:
        """Whether the next record can be expected to be stored; opens a segment if there is none."""
        with self._lock:
            if self._segment is not None:
                return True
            if self._closed or self._clock() < self._retry_at:
                return False
            try:
                self._recover(self._clock())
            except OSError as error:
                self._drops.reason = self._drops.reason or str(error)
                return False
            return True

    def sign(self) -> None:
        """Add a checkpoint now: what was recorded last says something that counts only when it is signed."""
        with self._lock:
            if self._segment is not None:
                self._checkpoint(self._clock())

    def _checkpoint(self, now: float) -> None:
        """Sign the chain so far; a failure is the next record's to report."""
        self._since_checkpoint, self._checkpoint_at = 0, now
        signature = self._key.sign(str(self.chain), self._sequence, self._head)
        try:
            self._append("checkpoint", {"key_id": self._key.key_id, "signature": signature}, now)
        except Exception as error:
            # Whoever records must not fail by it: the answers of a whole turn may wait.
            self._drops.count(error, now, 1)

    # --- beside the way: allocation, sync, checkpoints by time ----------------------------------

    def start(self) -> None:
        self._thread.start()

    def _keep_house(self) -> None:
        while not self._closed:
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
            try:
                self._tick()
            except Exception:
                # A thread's edge: records go on without it, only slower.
                logger.exception("audit spool housekeeping failed")

    def _tick(self) -> None:
        now = self._clock()
        self._prepare_spare()
        with self._lock:
            retired, self._retired = self._retired, []
            if self._since_checkpoint and now - self._checkpoint_at >= CHECKPOINT_SECONDS and self._segment:
                self._checkpoint(now)
        for segment in retired:
            segment.close(sync=self.fsync != "never")
        if self.fsync != "never":
            self._sync()

    def _prepare_spare(self) -> None:
        """Have the next segment ready: always in a busy process, else when half of this one is full."""
        segment = self._segment
        if segment is None or self._spare is not None:
            return
        if self._number < 2 and segment.offset * 2 < segment.size_bytes:
            return
        try:
            spare = self._allocate()
        except OSError as error:
            logger.warning("no next audit segment yet: %s", error)
            return
        with self._lock:
            if self._closed or self._spare is not None:
                self._retired.append(spare)
            else:
                self._spare = spare

    def _sync(self) -> None:
        """Bring to the disk what is written, then let go who waited for it (group commit)."""
        with self._lock:
            segment, waiters = self._segment, self._waiters
            self._waiters = []
            needed, self._unsynced = self._unsynced, False
        failure: OSError | None = None
        if needed and segment is not None:
            try:
                segment.sync()
            except OSError as error:
                failure, self._unsynced = error, True
        for loop, future in waiters:
            loop.call_soon_threadsafe(_settle, future, failure)

    async def durable(self) -> None:
        """Return when all records so far are on the disk, as far as the fsync policy promises it.

        Waits with `always` only: otherwise a record is safe from a kill of the process as soon as
        it is recorded, and from a power cut about a second later. Raises AuditUnavailable.
        """
        if self.fsync != "always":
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._closed:
                raise AuditUnavailable("the audit spool is closed")
            self._waiters.append((loop, future))
        self._wake.set()
        await future

    # --- ends ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Sign off: last checkpoint, sealed segment, nothing left in memory."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._segment is not None:
                now = self._clock()
                try:
                    if self._drops.unreported:
                        self._recover(now)
                    self._append("chain_closed", {"recorded": self.recorded}, now)
                except OSError as error:
                    self._drops.count(error, now, 1)
                self._checkpoint(now)
                if self._segment is not None:
                    self._segment.seal()
                    self._retired.append(self._segment)
            if self._spare is not None:
                self._retired.append(self._spare)
            self._segment = self._spare = None
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        for segment in self._retired:
            segment.close(sync=self.fsync != "never")
        self._retired = []
        self._sync()
        if self._drops.unreported:
            logger.error("%d audit records were dropped and not reported in the log", self._drops.unreported)

    def abandon(self) -> None:
        """After a fork: the files belong to the parent."""
        for segment in (self._segment, self._spare, *self._retired):
            if segment is not None:
                segment.abandon()
        self._closed = True

    def counters(self) -> dict[str, int]:
        return {
            "recorded": self.recorded,
            "dropped": self.dropped,
            "failed_allocations": self.failed_allocations,
            "spool_bytes": spool_bytes(self.directory),
            "spool_limit_bytes": self._limit_bytes,
            "sequence": self._sequence,
        }


def _settle(future: asyncio.Future[None], failure: OSError | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(AuditUnavailable(str(failure)))
