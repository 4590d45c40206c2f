"""Read a spool from a place in each segment on, in batches. Writes and removes nothing."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from auditlog.block import expand, records_in
from auditlog.segment import (
    HEADER_BYTES,
    Frame,
    FramesRead,
    SegmentUnreadable,
    has_writer,
    read_frames,
    read_header,
)
from auditlog.spool import segment_paths


class Head(NamedTuple):
    """The last record read of a chain."""

    sequence: int
    digest: bytes
    time: str


class Batch(NamedTuple):
    frames: list[Frame]  # one a record
    offsets: dict[str, int]  # where to go on, by segment
    heads: dict[str, Head]  # by chain


def next_batch(directory: Path, offsets: Mapping[str, int], limit: int) -> Batch:
    """At most `limit` records after `offsets`, over all segments, oldest chain first.

    A block is never parted: one that is larger than `limit` comes alone. Nothing is read past a segment
    that was not read to its end, or a chain's records would change places.
    """
    batch = Batch([], {}, {})
    for path in segment_paths(directory):
        start = offsets.get(path.name, HEADER_BYTES)
        read = _read(path, start, limit - len(batch.frames))
        records = [record for frame in read.frames for record in expand(frame)]
        if not records:
            continue
        if batch.frames and len(batch.frames) + len(records) > limit:
            break
        batch.frames.extend(records)
        batch.offsets[path.name] = read.offset
        head = _head_of(records[-1])
        if head is not None:
            batch.heads[head[0]] = head[1]
        if read.full:
            break
    return batch


def _head_of(frame: Frame) -> tuple[str, Head] | None:
    """None for what is no record, such as a block of a later version: the sink refuses it, and that is told."""
    try:
        record = orjson.loads(frame.body)
        return str(record["chain"]), Head(int(record["sequence"]), frame.digest, record["time"])
    except (ValueError, TypeError, KeyError):
        return None


def _read(path: Path, start: int, limit: int) -> FramesRead:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return FramesRead([], start, torn=False)
    try:
        read_header(descriptor)
        return read_frames(descriptor, start, limit, records_in)
    except SegmentUnreadable:
        return FramesRead([], start, torn=False)
    finally:
        os.close(descriptor)


class SegmentState(NamedTuple):
    """What there is to know of a segment to retire it."""

    closed: bool  # nothing will follow
    sealed: bool  # its writer said so; else the writer is dead
    chain: str
    first_sequence: int
    pid: int
    end: int  # where its last frame ends, in a sealed one


def inspect(path: Path) -> SegmentState | None:
    """None when the segment is gone. Raises SegmentUnreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # The lock first: a writer that lets go between the two looks has sealed before.
        abandoned = not has_writer(descriptor)
        header = read_header(descriptor)
        sealed = header.end > 0
        return SegmentState(
            sealed or abandoned, sealed, header.chain, header.first_sequence, header.pid, header.end
        )
    finally:
        os.close(descriptor)


def is_read_to_the_end(path: Path, offset: int) -> bool:
    """Whether no whole record follows `offset`. Only the truth of a closed segment."""
    return not _read(path, offset, 1).frames


def torn_bytes(path: Path, offset: int) -> int:
    """Bytes of a record that was being written when its process died: present, but not whole."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        read = read_frames(descriptor, offset, 1)
        if not read.torn:
            return 0
        return len(os.pread(descriptor, 1 << 20, read.offset).rstrip(b"\0"))
    finally:
        os.close(descriptor)


def count_records(path: Path) -> int:
    """Whole records in a segment."""
    return sum(records_in(frame.body) for frame in _read(path, HEADER_BYTES, 1 << 31).frames)


def last_head(path: Path) -> Head | None:
    """The last whole record in a segment."""
    frames = _read(path, HEADER_BYTES, 1 << 31).frames
    found = _head_of(expand(frames[-1])[-1]) if frames else None
    return found and found[1]
