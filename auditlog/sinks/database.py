"""Store records as AuditRecord rows: COPY into monthly partitions in PostgreSQL, inserts elsewhere.

Idempotent: a record whose event id is there already is passed over.
"""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    connection,
    transaction,
)

from auditlog.copy_format import CLOSING, OPENING, CopyRows
from auditlog.models import AuditRecord
from auditlog.partitions import ensure_partition, is_partitioned, month_after, month_of
from auditlog.rows import COLUMNS, columns_of
from auditlog.sinks.sink import Frame, SinkRejected, SinkUnavailable

TABLE = AuditRecord._meta.db_table
_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
_COPY = f'COPY "{{table}}" ({_NAMES}) FROM STDIN WITH (FORMAT BINARY)'
# What a body that is no record makes of its reading.
_NO_RECORD = (ValueError, KeyError, TypeError, AttributeError, struct.error)
_STAGING = "audit_staging"
Row = TypeVar("Row")


class DatabaseSink:
    """Writes through the connection of the thread it runs in."""

    def __init__(self) -> None:
        self._months: set[datetime] = set()
        self._copy_rows = CopyRows()

    def deliver(self, frames: Sequence[Frame]) -> None:
        refused: dict[int, str] = {}
        try:
            if is_partitioned():
                self._copy(frames, refused)
            else:
                _insert(_read(frames, columns_of, refused))
        except (DataError, IntegrityError) as error:
            self._months.clear()
            # The row to blame is found by the caller, which offers smaller batches.
            raise SinkRejected(dict.fromkeys(range(len(frames)), str(error).splitlines()[0])) from error
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            self._months.clear()
            raise SinkUnavailable(f"{type(error).__name__}: {str(error).strip()[:200]}") from error
        if refused:
            raise SinkRejected(refused)

    def close(self) -> None:
        connection.close()

    def _copy(self, frames: Sequence[Frame], refused: dict[int, str]) -> None:
        """COPY all that are records, and name the others in `refused`."""
        encoded = _read(frames, self._copy_rows.encode, refused)
        if not encoded:
            return
        event_ids = [event_id for event_id, _ in encoded]
        self._ensure_months(min(event_ids), max(event_ids))
        data = b"".join((OPENING, *(row for _, row in encoded), CLOSING))
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                _copy_into(cursor, TABLE, data)
        except IntegrityError:
            # Some have come before: sort them out in a table of our own.
            _copy_what_is_missing(data)

    def _ensure_months(self, oldest: bytes, newest: bytes) -> None:
        month, last = _month(oldest), _month(newest)
        while month <= last:
            if month not in self._months:
                ensure_partition(month)
                self._months.add(month)
            month = month_after(month)


def _month(event_id: bytes) -> datetime:
    # The first 48 bits of the event id are its milliseconds, and they decide the partition.
    return month_of(datetime.fromtimestamp(int.from_bytes(event_id[:6]) / 1000, UTC))


def open_sink() -> DatabaseSink:
    return DatabaseSink()


def _read(frames: Sequence[Frame], read: Callable[[Frame], Row], refused: dict[int, str]) -> list[Row]:
    rows = []
    for index, frame in enumerate(frames):
        try:
            rows.append(read(frame))
        except _NO_RECORD as error:
            refused[index] = f"no record: {error}"
    return rows


def _insert(rows: list[list[Any]]) -> None:
    """SQLite's form of ids and times is Django's: 32 hexadecimal digits, no zone."""
    for row in rows:
        row[0] = row[0].replace("-", "")
        row[1] = row[1].replace("T", " ").rstrip("Z")
        row[4] = row[4].replace("-", "")
    marks = ", ".join(["%s"] * len(COLUMNS))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(f'INSERT OR IGNORE INTO "{TABLE}" ({_NAMES}) VALUES ({marks})', rows)  # noqa: S608


def _copy_into(cursor: Any, table: str, data: bytes) -> None:
    # COPY is psycopg's own: Django does not translate its errors by itself.
    with connection.wrap_database_errors, cursor.copy(_COPY.format(table=table)) as copy:
        copy.write(data)


def _copy_what_is_missing(data: bytes) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f'CREATE TEMPORARY TABLE "{_STAGING}" (LIKE "{TABLE}") ON COMMIT DROP')
        _copy_into(cursor, _STAGING, data)
        cursor.execute(
            f'INSERT INTO "{TABLE}" ({_NAMES}) SELECT {_NAMES} FROM "{_STAGING}" ON CONFLICT DO NOTHING'  # noqa: S608
        )
