"""Keep the last good configuration on disk, so that a data plane can start while the database is down.

One JSON value a line: a base written whole, then one line for each later difference. A line cut
short by a crash is ignored, and so is everything after it. Holds digests, never a key; mode 0600.
One process of a host writes (the one that holds the lock), every one may read.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from accounts.directory import CredentialRow, GrantRow, PrincipalRow, RoleRow
from accounts.directory_rows import DirectoryRows
from routing.configuration_source import Difference, Everything
from routing.snapshot import Rows

logger = logging.getLogger("gatehouse.last_good")

FORMAT = 1
COMPACT_BYTES = 64 * 1024 * 1024


class LastGood:
    """The copy in one directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "last_good.jsonl"
        self._lock_path = directory / "last_good.lock"
        self._lock: int | None = None
        self._base_written = False

    def write_base(self, everything: Everything) -> None:
        """Replace the copy, if this process is (or can become) the writer."""
        if not self._acquire():
            return
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for line in _base_lines(everything):
                file.write(orjson.dumps(line, default=list) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self._base_written = True

    def append(self, difference: Difference) -> bool:
        """Add a difference; False when the caller should write a new base instead."""
        if not self._acquire():
            return True
        if not self._base_written or self._path.stat().st_size > COMPACT_BYTES:
            return False
        lines = b"".join(orjson.dumps(line, default=list) + b"\n" for line in _difference_lines(difference))
        # Until it is written whole, the copy may end in half a line, behind which nothing counts.
        self._base_written = False
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        with os.fdopen(descriptor, "wb") as file:
            file.write(lines)
        self._base_written = True
        return True

    def read(self) -> Everything | None:
        """The configuration as it was kept; None when there is none to use."""
        try:
            return _replay(_whole_revisions(self._lines()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
            logger.error("the copy on disk can't be read: %s", error)
            return None

    def _lines(self) -> Iterator[Any]:
        with self._path.open("rb") as file:
            for line in file:
                try:
                    yield orjson.loads(line)
                except orjson.JSONDecodeError:
                    return

    def _acquire(self) -> bool:
        if self._lock is not None:
            return True
        self._lock_path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True


def _base_lines(everything: Everything) -> Iterator[list[Any]]:
    yield ["format", FORMAT]
    yield ["routing", everything.rows]
    yield ["roles", everything.directory.roles]
    for principal in everything.directory.principals:
        yield ["principal", principal]
    for credential in everything.directory.credentials:
        yield ["credential", credential]
    yield ["revision", everything.rows.revision]


def _difference_lines(difference: Difference) -> Iterator[list[Any]]:
    if difference.rows is not None:
        yield ["routing", difference.rows]
    if difference.roles is not None:
        yield ["roles", difference.roles]
    for principal in difference.principals:
        yield ["principal", principal]
    for credential in difference.credentials:
        yield ["credential", credential]
    yield ["gone", difference.gone_principals, difference.gone_credentials]
    yield ["revision", difference.revision]


def _whole_revisions(lines: Iterator[Any]) -> Iterator[Any]:
    """The lines up to the last mark of a revision: half of a difference is no configuration."""
    is_base, pending = True, []
    for line in lines:
        pending.append(line)
        if is_base or line[0] == "revision":
            yield from pending
            pending.clear()
        is_base = is_base and line[0] != "revision"


def _replay(lines: Iterator[Any]) -> Everything | None:
    rows: Rows | None = None
    roles: list[RoleRow] = []
    principals: dict[int, PrincipalRow] = {}
    credentials: dict[int, CredentialRow] = {}
    for kind, *values in lines:
        if kind == "format" and values[0] != FORMAT:
            return None
        if kind == "routing":
            rows = Rows(**values[0])
        elif kind == "roles":
            roles = [RoleRow(*row) for row in values[0]]
        elif kind == "principal":
            row = _principal(values[0])
            principals[row.id] = row
        elif kind == "credential":
            credential = CredentialRow(*values[0])
            credentials[credential.id] = credential
        elif kind == "gone":
            _forget(principals, values[0])
            _forget(credentials, values[1])
        elif kind == "revision" and rows is not None:
            rows.revision = values[0]
    if rows is None:
        return None
    return Everything(rows, DirectoryRows(roles, principals.values(), credentials.values(), ()))


def _principal(values: list[Any]) -> PrincipalRow:
    return PrincipalRow(*values[:7], [GrantRow(*grant) for grant in values[7]])


def _forget(rows: dict[int, Any], ids: list[int]) -> None:
    for row_id in ids:
        rows.pop(row_id, None)
