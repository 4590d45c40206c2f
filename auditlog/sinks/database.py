"""Store records as AuditRecord rows: COPY into monthly partitions in PostgreSQL, inserts elsewhere.

Idempotent: a record whose event id is there already is passed over.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    connection,
    transaction,
)

from auditlog.models import AuditRecord
from auditlog.partitions import ensure_partition, is_partitioned, month_after, month_of
from auditlog.rows import COLUMNS, columns_of
from auditlog.sinks.sink import Frame, SinkRejected, SinkUnavailable

TABLE = AuditRecord._meta.db_table
_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
# A character that no value holds: the recorder escapes control characters.
_NULL = "\x01"
_COPY = f"COPY \"{{table}}\" ({_NAMES}) FROM STDIN WITH (NULL '{_NULL}')"
_STAGING = "audit_staging"


class DatabaseSink:
    """Writes through the connection of the thread it runs in."""

    def __init__(self) -> None:
        self._months: set[datetime] = set()

    def deliver(self, frames: Sequence[Frame]) -> None:
        rows, refused = _parse(frames)
        try:
            self._store(rows, refused)
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

    def _ensure_months(self, oldest: str, newest: str) -> None:
        month, last = _month(oldest), _month(newest)
        while month <= last:
            if month not in self._months:
                ensure_partition(month)
                self._months.add(month)
            month = month_after(month)

    def _store(self, rows: list[list[Any]], refused: dict[int, str]) -> None:
        if not rows:
            return
        if not is_partitioned():
            _insert(rows)
            return
        self._ensure_months(min(row[0] for row in rows), max(row[0] for row in rows))
        data = _copy_text(rows)
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                _copy(cursor, TABLE, data)
        except IntegrityError:
            # Some have come before: sort them out in a table of our own.
            _copy_what_is_missing(data)


def _month(event_id: str) -> datetime:
    # The first 48 bits of the event id are its milliseconds, and they decide the partition.
    return month_of(datetime.fromtimestamp(int(event_id.replace("-", "")[:12], 16) / 1000, UTC))


def open_sink() -> DatabaseSink:
    return DatabaseSink()


def _parse(frames: Sequence[Frame]) -> tuple[list[list[Any]], dict[int, str]]:
    rows, refused = [], {}
    for index, frame in enumerate(frames):
        try:
            rows.append(columns_of(frame))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            refused[index] = f"no record: {error}"
    return rows, refused


def _insert(rows: list[list[Any]]) -> None:
    """SQLite's form of ids and times is Django's: 32 hexadecimal digits, no zone."""
    for row in rows:
        row[0] = row[0].replace("-", "")
        row[1] = row[1].replace("T", " ").rstrip("Z")
        row[4] = row[4].replace("-", "")
    marks = ", ".join(["%s"] * len(COLUMNS))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(f'INSERT OR IGNORE INTO "{TABLE}" ({_NAMES}) VALUES ({marks})', rows)  # noqa: S608


def _copy_text(rows: list[list[Any]]) -> str:
    """COPY's text format. No value holds a tab or a line end, so only backslashes are doubled."""
    lines = []
    for row in rows:
        row[5] = str(row[5])
        row[11] = _NULL if row[11] is None else str(row[11])
        row[15] = "\\x" + row[15].hex()
        lines.append("\t".join(row))
    return "\n".join(lines).replace("\\", "\\\\") + "\n"


def _copy(cursor: Any, table: str, data: str) -> None:
    # COPY is psycopg's own: Django does not translate its errors by itself.
    with connection.wrap_database_errors, cursor.copy(_COPY.format(table=table)) as copy:
        copy.write(data)


def _copy_what_is_missing(data: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f'CREATE TEMPORARY TABLE "{_STAGING}" (LIKE "{TABLE}") ON COMMIT DROP')
        _copy(cursor, _STAGING, data)
        cursor.execute(
            f'INSERT INTO "{TABLE}" ({_NAMES}) SELECT {_NAMES} FROM "{_STAGING}" ON CONFLICT DO NOTHING'  # noqa: S608
        )
