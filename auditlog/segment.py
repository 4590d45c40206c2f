"""One spool file: preallocated, memory-mapped by its writer, read by others with pread.

A frame is length, CRC-32, hash (32 bytes) and body. Writing one is a copy into the page cache, so
a process that is killed right after loses nothing and a record costs no system call. Zero bytes
after the last frame are the end; a torn frame fails its CRC. The writer holds a lock (flock) on
the file for its life: a segment that can be locked has no writer any more.
"""

import fcntl
import mmap
import os
import struct
import time
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SUFFIX = ".spool"
# A segment that is allocated and locked but not begun: readers pass over it.
UNBEGUN_SUFFIX = ".unbegun"
MAGIC = b"GATEAUD1"
# magic, chain, first sequence, hash before the first record, pid, created, end (0: open)
HEADER = struct.Struct("<8s16sQ32sIdQ")
HEADER_BYTES = 128
FRAME = struct.Struct("<II")
DIGEST_BYTES = 32
_END = struct.Struct("<Q")
_END_OFFSET = HEADER.size - _END.size
READ_BYTES = 1 << 20


class SegmentUnreadable(Exception):
    """The file is no spool segment or its header is damaged."""


class Frame(NamedTuple):
    """`record` is what the body says, where whoever made the body knows: nobody has to parse it then."""

    digest: bytes
    body: bytes
    record: dict[str, Any] | None = None


class SegmentHeader(NamedTuple):
    chain: str
    first_sequence: int
    previous: bytes
    pid: int
    created: float
    end: int


class SegmentWriter:
    """The open segment of this process. Not thread-safe: its owner holds a lock."""

    def __init__(self, directory: Path, chain: uuid.UUID, number: int, size_bytes: int) -> None:
        """Allocate the whole file. Raises OSError: a full disk shows here and never at a write."""
        self.path = directory / f"{chain.hex}-{number:08d}{UNBEGUN_SUFFIX}"
        self.size_bytes = size_bytes
        self.offset = HEADER_BYTES
        self._chain = chain
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(self.descriptor, 0, size_bytes)
            self._map = mmap.mmap(self.descriptor, size_bytes)
        except OSError:
            os.close(self.descriptor)
            self.path.unlink(missing_ok=True)
            raise

    def begin(self, first_sequence: int, previous: bytes) -> None:
        """Write the header and show the file to readers; it continues the chain at `first_sequence`."""
        HEADER.pack_into(
            self._map, 0, MAGIC, self._chain.bytes, first_sequence, previous, os.getpid(), time.time(), 0
        )
        self.path = self.path.rename(self.path.with_suffix(SUFFIX))

    def append(self, digest: bytes, body: bytes) -> bool:
        """Write one frame; False when the segment has no room for it."""
        start = self.offset
        data = digest + body
        end = start + 8 + len(data)
        # Four zero bytes stay behind the last frame, which a reader takes for the end.
        if end + 4 > self.size_bytes:
            return False
        # The body first: a reader that sees a length sees the frame whole.
        self._map[start + 8 : end] = data
        FRAME.pack_into(self._map, start, len(data), zlib.crc32(data))
        self.offset = end
        return True

    def seal(self) -> None:
        """Say that no frame follows. Cheap: the file is closed by `close`, in another thread."""
        _END.pack_into(self._map, _END_OFFSET, self.offset)

    def sync(self) -> None:
        os.fdatasync(self.descriptor)

    def close(self, sync: bool) -> None:
        """Give the unused tail back and let the lock go; an unused segment is removed."""
        used = self.offset
        self._map.close()
        if used == HEADER_BYTES:
            self.path.unlink(missing_ok=True)
        else:
            os.ftruncate(self.descriptor, used)
            if sync:
                os.fsync(self.descriptor)
        os.close(self.descriptor)

    def abandon(self) -> None:
        """Let go without a word: after a fork the file belongs to the parent."""
        self._map.close()
        os.close(self.descriptor)


def read_header(descriptor: int) -> SegmentHeader:
    """Raises SegmentUnreadable."""
    raw = os.pread(descriptor, HEADER.size, 0)
    if len(raw) < HEADER.size:
        raise SegmentUnreadable("shorter than its header")
    magic, chain, first, previous, pid, created, end = HEADER.unpack(raw)
    if magic != MAGIC:
        raise SegmentUnreadable("not a spool segment, or not begun")
    return SegmentHeader(str(uuid.UUID(bytes=chain)), first, previous, pid, created, end)


class FramesRead(NamedTuple):
    frames: list[Frame]
    offset: int  # of the next frame
    torn: bool  # a frame follows that is not whole (yet, when the writer lives)
    full: bool = False  # the limit was reached: frames may follow


def _one(body: bytes) -> int:
    return 1


def read_frames(descriptor: int, offset: int, limit: int, weigh: Callable[[bytes], int] = _one) -> FramesRead:
    """Read whole frames from `offset` on: at least one, and no more than weigh `limit` together."""
    frames: list[Frame] = []
    offset = max(offset, HEADER_BYTES)
    window, weight = READ_BYTES, 0
    while True:
        data = os.pread(descriptor, window, offset)
        position, available = 0, len(data)
        full = False
        while not full:
            if available - position < FRAME.size:
                break
            length, checksum = FRAME.unpack_from(data, position)
            if length == 0:
                return FramesRead(frames, offset + position, torn=False)
            end = position + FRAME.size + length
            if end > available:
                break
            payload = data[position + FRAME.size : end]
            if length < DIGEST_BYTES or zlib.crc32(payload) != checksum:
                return FramesRead(frames, offset + position, torn=True)
            frame = Frame(payload[:DIGEST_BYTES], payload[DIGEST_BYTES:])
            weight += weigh(frame.body)
            if frames and weight > limit:
                full = True
                break
            frames.append(frame)
            position = end
            full = weight >= limit
        offset += position
        if full or available < window:
            # Fewer bytes than asked for: the file ends here, whole or within a frame.
            torn = not full and any(data[position:])
            return FramesRead(frames, offset, torn, full)
        if position == 0:
            window = max(window * 2, FRAME.size + length)
            if window > 64 * READ_BYTES:
                return FramesRead(frames, offset, torn=True)


def has_writer(descriptor: int) -> bool:
    """Whether a process still holds the segment; takes and gives back the lock when none does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
