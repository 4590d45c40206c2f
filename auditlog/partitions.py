"""Monthly partitions of the audit table in PostgreSQL. Other databases have one plain table."""

from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction

from auditlog.models import AuditRecord, event_id_at

TABLE = AuditRecord._meta.db_table
# Any number that no other part of Gatehouse locks.
_ADVISORY_LOCK = 0x6761746541756469


def is_partitioned() -> bool:
    return connection.vendor == "postgresql"


def month_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_after(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def partition_name(month: datetime) -> str:
    return f"{TABLE}_{month:%Y_%m}"


def ensure_partition(month: datetime) -> None:
    """Create the partition of a month unless it is there."""
    if not is_partitioned():
        return
    name = partition_name(month)
    low, high = event_id_at(month), event_id_at(month_after(month))
    with transaction.atomic(), connection.cursor() as cursor:
        # Two workers may find the month missing at once.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
        cursor.execute(
            f'CREATE TABLE IF NOT EXISTS "{name}" PARTITION OF "{TABLE}" '
            f"FOR VALUES FROM ('{low}') TO ('{high}')"
        )


def partitions() -> list[tuple[str, datetime]]:
    """Names and months of all partitions, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = %s::regclass ORDER BY c.relname",
            [TABLE],
        )
        names: list[tuple[Any, ...]] = cursor.fetchall()
    return [(name, _month_in_name(name)) for (name,) in names]


def drop_partition(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'DROP TABLE "{name}"')


def _month_in_name(name: str) -> datetime:
    year, month = name.removeprefix(f"{TABLE}_").split("_")
    return datetime(int(year), int(month), 1, tzinfo=UTC)
