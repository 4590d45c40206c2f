"""Remove records that are older than GATEWAY_AUDIT_RETENTION_DAYS, and record that it was done.

What remains must still verify: the record of the removal says where each cut chain begins now.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from auditlog import recorder
from auditlog.models import AuditRecord, event_id_at
from auditlog.partitions import drop_partition, is_partitioned, month_after, partitions
from auditlog.query import records

DELETED_AT_ONCE = 5000


def apply_retention(now: datetime | None = None) -> int:
    """Remove what is too old; returns the number of records. 0 days keep everything."""
    if settings.GATEWAY_AUDIT_RETENTION_DAYS <= 0:
        return 0
    before = (now or timezone.now()) - timedelta(days=settings.GATEWAY_AUDIT_RETENTION_DAYS)
    begins = _cut_chains(before)
    removed = _drop_whole_months(before) + _delete_rows(before)
    if removed:
        fields: dict[str, Any] = {
            "before": before.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "removed": removed,
            "days": settings.GATEWAY_AUDIT_RETENTION_DAYS,
            "begins": begins,
        }
        recorder.record("retention_applied", fields)
    return removed


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


def _drop_whole_months(before: datetime) -> int:
    """In PostgreSQL a month goes as one table: no row is touched."""
    if not is_partitioned():
        return 0
    removed = 0
    for name, month in partitions():
        if month_after(month) <= before:
            removed += records().in_period(month, month_after(month)).count()
            drop_partition(name)
    return removed


def _delete_rows(before: datetime) -> int:
    """The rest in small transactions: the sink goes on writing between them."""
    removed, limit = 0, event_id_at(before)
    while True:
        oldest = list(
            AuditRecord.objects.filter(event_id__lt=limit)
            .order_by("event_id")
            .values_list("event_id", flat=True)[:DELETED_AT_ONCE]
        )
        if not oldest:
            return removed
        with transaction.atomic():
            removed += AuditRecord.objects.filter(
                event_id__gte=oldest[0], event_id__lte=oldest[-1]
            )._raw_delete(using=AuditRecord.objects.db)
