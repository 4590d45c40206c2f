"""Open files of lines, plain or compressed with gzip, so that a line can be read again at its place."""

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

GZIP_BEGINS = b"\x1f\x8b"
COPIED_BYTES = 1 << 20


class LinesFile:
    """Lines of bytes with the name that a person knows the file by."""

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self.name = name
        self._stream = stream
        self.seek, self.readline = stream.seek, stream.readline

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)


class LinesUnreadable(Exception):
    """The file is not there, may not be read, or is not whole."""


@contextmanager
def open_lines(path: Path) -> Iterator[LinesFile]:
    """Compressed ones are unpacked to a temporary file. Raises LinesUnreadable."""
    with ExitStack() as stack:
        try:
            stream: IO[bytes] = stack.enter_context(path.open("rb"))
            if stream.read(2) == GZIP_BEGINS:
                stream = stack.enter_context(tempfile.TemporaryFile())
                with gzip.open(path) as packed:
                    shutil.copyfileobj(packed, stream, COPIED_BYTES)
            stream.seek(0)
        except (OSError, EOFError, zlib.error) as error:
            raise LinesUnreadable(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        yield LinesFile(path.name, stream)
