"""Append records as JSON lines to a file, rotated by size and compressed with gzip.

At least once: a batch that was written but not acknowledged (kill -9 in between) comes again, with
the same event ids. A batch that could not be written whole is taken back. A file that can't be
rotated grows on: the records in it are stored all the same.
"""

import gzip
import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from auditlog.sinks.sink import Frame, SinkUnavailable, json_line

logger = logging.getLogger("gatehouse.audit")

COMPRESSION_LEVEL = 6
# A rotation that failed is not tried again with every batch: it may compress a whole file for nothing.
ROTATION_RETRY_SECONDS = 30.0


class FileSink:
    """One open file; rotated ones are called NAME.1.gz (the newest) to NAME.N.gz."""

    def __init__(self, path: Path, rotate_bytes: int, kept: int, fsync: bool) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._kept = kept
        self._fsync = fsync
        self._descriptor: int | None = None
        self._rotate_not_before = 0.0

    def deliver(self, frames: Sequence[Frame]) -> None:
        data = b"".join(json_line(frame) + b"\n" for frame in frames)
        try:
            self._append(data)
        except OSError as error:
            self.close()
            raise SinkUnavailable(f"{type(error).__name__}: {error}") from error
        self._rotate_if_due(time.monotonic())

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, data: bytes) -> None:
        if self._descriptor is None or self._was_moved():
            self.close()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o640)
            self._drop_broken_line()
        start = self._size()
        try:
            written = os.write(self._descriptor, data)
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            if self._fsync:
                os.fdatasync(self._descriptor)
        except OSError:
            # A full disk in the middle of a batch: no half line may stay.
            os.ftruncate(self._descriptor, start)
            raise

    def _drop_broken_line(self) -> None:
        """A process that was killed while it wrote may have left the beginning of a line."""
        descriptor = self._descriptor
        assert descriptor is not None
        size = os.fstat(descriptor).st_size
        window = min(size, 1 << 20)
        tail = os.pread(descriptor, window, size - window)
        if tail and not tail.endswith(b"\n"):
            os.ftruncate(descriptor, size - window + tail.rfind(b"\n") + 1)

    def _was_moved(self) -> bool:
        """Somebody else (logrotate) rotated the file: go on in a new one."""
        assert self._descriptor is not None
        try:
            return os.stat(self._path).st_ino != os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return True

    def _size(self) -> int:
        assert self._descriptor is not None
        return os.fstat(self._descriptor).st_size

    def _rotate_if_due(self, now: float) -> None:
        """The batch is stored already: a failure here must not bring it again."""
        if not self._rotate_bytes or self._size() < self._rotate_bytes or now < self._rotate_not_before:
            return
        try:
            self._rotate()
        except OSError as error:
            self._rotate_not_before = now + ROTATION_RETRY_SECONDS
            logger.warning("audit file %s not rotated, it grows on: %s", self._path, error)

    def _rotate(self) -> None:
        plain = self._path.with_name(f"{self._path.name}.rotated")
        # One that is there is of a rotation that broke off: it comes first, or it would be overwritten.
        if not plain.exists():
            self._path.rename(plain)
            self.close()
        # Hidden, so that who reads NAME* after a rotation that broke off does not read a part of a file.
        temporary = self._path.with_name(f".{self._path.name}.gz.tmp")
        with plain.open("rb") as source, gzip.open(temporary, "wb", COMPRESSION_LEVEL) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        self._numbered(self._kept).unlink(missing_ok=True)
        for number in range(self._kept - 1, 0, -1):
            if self._numbered(number).exists():
                self._numbered(number).rename(self._numbered(number + 1))
        temporary.rename(self._numbered(1))
        plain.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}.gz")


def open_sink() -> FileSink:
    return FileSink(
        Path(settings.GATEWAY_AUDIT_FILE),
        settings.GATEWAY_AUDIT_FILE_BYTES,
        settings.GATEWAY_AUDIT_FILES_KEPT,
        fsync=settings.GATEWAY_AUDIT_FSYNC == "always",
    )
