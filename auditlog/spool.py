"""The spool directory: which segments there are and how many bytes they take. Reads no records."""

import os
from pathlib import Path

from auditlog.segment import SUFFIX, UNBEGUN_SUFFIX


class SpoolFull(OSError):
    """The spool has reached its bound: unshipped records would be dropped for newer ones."""


def segment_paths(directory: Path, suffix: str = SUFFIX) -> list[Path]:
    """All segments, oldest chain first and each chain in order: names sort so."""
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(suffix))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [directory / name for name in names]


def chain_in_name(path: Path) -> str:
    return path.name.partition("-")[0]


def spool_bytes(directory: Path) -> int:
    """Bytes of all segments, the preallocated tail of open ones included."""
    total = 0
    for path in (*segment_paths(directory), *segment_paths(directory, UNBEGUN_SUFFIX)):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # shipped meanwhile
    return total


def prepare_directory(directory: Path) -> None:
    """Create the spool for its owner alone. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
