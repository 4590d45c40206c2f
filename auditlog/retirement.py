"""Remove segments that every sink has, adopt those of dead processes, notice what is missing.

Runs in the shipper's main thread. What it finds wrong becomes a record: a gap in a chain, a process
that ended without signing off, a segment given up for its age.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from auditlog.cursor import Cursor
from auditlog.reader import (
    SegmentState,
    count_records,
    inspect,
    is_read_to_the_end,
    last_head,
    torn_bytes,
)
from auditlog.segment import HEADER_BYTES, UNBEGUN_SUFFIX, SegmentUnreadable, has_writer
from auditlog.spool import chain_in_name, segment_paths

UNBEGUN_SECONDS = 60
DAMAGED_DIRECTORY = "damaged"

Report = Callable[[str, dict[str, Any]], None]


class Retirement:
    """Knows the chains that pass through one spool."""

    def __init__(
        self,
        directory: Path,
        report: Report,
        oldest_seconds: float,
        expected: Mapping[str, int],
        save: Callable[[], None] = lambda: None,
    ) -> None:
        self._directory = directory
        self._report = report
        self._oldest_seconds = oldest_seconds
        self.expected = dict(expected)  # next sequence by chain; survives restarts by the shipper's care
        self._save = save

    def sweep(self, cursors: Sequence[Cursor]) -> set[str]:
        """Look at every segment once; returns the names of those that are gone."""
        gone, waiting = set(), set()
        for path in segment_paths(self._directory):
            chain = chain_in_name(path)
            # In order: an empty last segment has nothing to wait for, but those before it have.
            if chain in waiting:
                continue
            if self._settle(path, cursors):
                gone.add(path.name)
            else:
                waiting.add(chain)
        self._clear_unbegun()
        present = {path.name for path in segment_paths(self._directory)}
        return gone | {name for cursor in cursors for name in list(cursor.offsets) if name not in present}

    def _settle(self, path: Path, cursors: Sequence[Cursor]) -> bool:
        try:
            state = inspect(path)
        except SegmentUnreadable as error:
            return self._put_by(path, str(error))
        if state is None:
            return True
        if not state.closed:
            return False
        offsets = [cursor.offsets.get(path.name, HEADER_BYTES) for cursor in cursors]
        behind = [offset for offset in offsets if not is_read_to_the_end(path, offset)]
        if behind and not self._is_too_old(path):
            return False
        if behind:
            lost = {"segment": path.name, "chain_affected": state.chain, "sinks_behind": len(behind)}
            self._report("spool_expired", lost)
        self._check_chain(path, state, max(offsets))
        if state.sealed and not behind and max(offsets) < state.end:
            return self._put_by(path, f"damaged at byte {max(offsets)}: what follows there was not delivered")
        # First, or a kill in between would look like a gap later. A full disk must not keep the segment.
        with suppress(OSError):
            self._save()
        path.unlink(missing_ok=True)
        return True

    def _check_chain(self, path: Path, state: SegmentState, end: int) -> None:
        expected = self.expected.get(state.chain, 0)
        following = state.first_sequence + count_records(path)
        if expected == following > state.first_sequence:
            # It was looked at before: the shipper was killed before it removed it.
            return
        if state.first_sequence != expected:
            gap = {"chain_affected": state.chain, "expected": expected, "found": state.first_sequence}
            self._report("sequence_gap", gap)
        self.expected.pop(state.chain, None)
        self.expected[state.chain] = following
        if not state.sealed:
            adopted = {"segment": path.name, "chain_affected": state.chain, "pid": state.pid}
            adopted["torn_bytes"] = torn_bytes(path, end)
            # Its process is dead and can't say any more where its chain ends.
            head = last_head(path)
            if head is not None:
                adopted["ends"] = [head.sequence, head.digest.hex(), head.time]
            self._report("segment_adopted", adopted)

    def _is_too_old(self, path: Path) -> bool:
        try:
            return time.time() - path.stat().st_mtime > self._oldest_seconds
        except FileNotFoundError:
            return False

    def _put_by(self, path: Path, reason: str) -> bool:
        """A file that is no segment: keep it as evidence, out of the way."""
        directory = self._directory / DAMAGED_DIRECTORY
        directory.mkdir(mode=0o700, exist_ok=True)
        path.rename(directory / path.name)
        self._report("segment_damaged", {"segment": path.name, "reason": reason})
        return True

    def _clear_unbegun(self) -> None:
        """Segments that were allocated by a process that died before it used them."""
        for path in segment_paths(self._directory, UNBEGUN_SUFFIX):
            try:
                if time.time() - path.stat().st_mtime < UNBEGUN_SECONDS:
                    continue
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                if not has_writer(descriptor):
                    path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)
