"""Remove records that are older than GATEWAY_AUDIT_RETENTION_DAYS, and record that it is done.

What remains must still verify: the record that comes before the first removal says where each cut
chain begins from then on, so a removal that breaks off in its middle leaves no gap unexplained.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from auditlog import recorder
from auditlog.models import AuditRecord, event_id_at
from auditlog.partitions import drop_partition, is_partitioned, month_after, partitions
from auditlog.query import records

logger = logging.getLogger("gatehouse.audit")

DELETED_AT_ONCE = 5000
# The first turn comes soon after the start: a host that is up for an hour a day keeps its limits too.
FIRST_SECONDS, TURN_SECONDS, RETRY_SECONDS = 60.0, 86_400.0, 600.0
# Any number that no other part of Gatehouse locks.
_ADVISORY_LOCK = 0x6761746552657465

Progress = Callable[[int], None]


def keep(stop: threading.Event, first: float = FIRST_SECONDS, turn: float = TURN_SECONDS) -> None:
    """Apply the retention once a day until `stop` is set; a failure is logged and tried again sooner."""
    pause = first
    while not stop.wait(pause):
        try:
            apply_retention(stop=stop)
            pause = turn
        except Exception:
            # The thread's edge: a database that is down, a spool without room for the record of it.
            logger.exception("the audit retention was not applied")
            pause = min(RETRY_SECONDS, turn)
        finally:
            connection.close()


def apply_retention(
    now: datetime | None = None, stop: threading.Event | None = None, progress: Progress | None = None
) -> int:
    """Remove what is too old; returns the number of records. 0 days keep everything.

    Stops between two steps once `stop` is set. Nothing is removed while another process does the same.
    Raises AuditUnavailable when it can't be recorded: then nothing is removed.
    """
    days = settings.GATEWAY_AUDIT_RETENTION_DAYS
    if days <= 0:
        return 0
    before = (now or timezone.now()) - timedelta(days=days)
    with _alone() as is_alone:
        if not is_alone or not records().in_period(None, before).exists():
            return 0
        fields: dict[str, Any] = {
            "before": before.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "days": days,
            "begins": _cut_chains(before),
        }
        recorder.record_required("retention_started", fields)
        # Unsigned it would explain no gap: anybody could write such a record.
        recorder.sign()
        removed = 0
        for step in _steps(before, fields["begins"]):
            removed += step
            if progress is not None:
                progress(removed)
            if stop is not None and stop.is_set():
                return removed
        recorder.record("retention_applied", fields | {"removed": removed})
        recorder.sign()
    logger.info("audit retention: %d records before %s removed", removed, fields["before"])
    return removed


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether no other process applies the retention now. A killed one lets go with its connection."""
    if connection.vendor != "postgresql":
        yield True
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_ADVISORY_LOCK])
        (locked,) = cursor.fetchone()
    try:
        yield locked
    finally:
        if locked:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_LOCK])


def _cut_chains(before: datetime) -> dict[str, list[Any]]:
    """First kept sequence, and the hash before it, of every chain that reaches over the limit."""
    cut: dict[str, list[Any]] = {}
    old = records().in_period(None, before)
    for chain in old.order_by().values_list("chain", flat=True).distinct():
        last = old.filter(chain=chain).order_by("-sequence").values_list("sequence", "hash").first()
        kept = records().in_period(before, None).filter(chain=chain)
        if last is not None and kept.exists():
            cut[str(chain)] = [last[0] + 1, bytes(last[1]).hex()]
    return cut


def _steps(before: datetime, cut: Mapping[str, list[Any]]) -> Iterator[int]:
    """Remove a part at a time; the number of records of each."""
    yield from _drop_whole_months(before)
    yield from _delete_rows(before)
    for chain, (begin, _) in cut.items():
        # Where a clock was set back, a record that is newer may stand before one that is too old.
        removed = AuditRecord.objects.filter(chain=chain, sequence__lt=begin)._raw_delete(
            AuditRecord.objects.db
        )
        if removed:
            yield removed


def _drop_whole_months(before: datetime) -> Iterator[int]:
    """In PostgreSQL a month goes as one table: no row is touched."""
    if not is_partitioned():
        return
    for name, month in partitions():
        if month_after(month) <= before:
            removed = records().in_period(month, month_after(month)).count()
            drop_partition(name)
            yield removed


def _delete_rows(before: datetime) -> Iterator[int]:
    """The rest in small transactions: the sink goes on writing between them."""
    limit = event_id_at(before)
    while True:
        oldest = list(
            AuditRecord.objects.filter(event_id__lt=limit)
            .order_by("event_id")
            .values_list("event_id", flat=True)[:DELETED_AT_ONCE]
        )
        if not oldest:
            return
        with transaction.atomic():
            removed = AuditRecord.objects.filter(
                event_id__gte=oldest[0], event_id__lte=oldest[-1]
            )._raw_delete(using=AuditRecord.objects.db)
        yield removed
