"""Ask for audit records without ever counting or scanning them all.

The event id orders by time, so a period is a range of the primary key; every other question goes
through an index that ends in the event id, newest first.
"""

import ipaddress
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models

from auditlog.configuration import redaction_from_settings
from auditlog.models import AuditRecord, event_id_at

LONGEST_TERM = 255


class AuditRecordQuerySet(models.QuerySet[AuditRecord]):
    """Records with the questions of the admin and of the API."""

    def in_period(self, since: datetime | None, until: datetime | None) -> "AuditRecordQuerySet":
        """From `since` on and before `until`, to the millisecond."""
        records = self
        if since is not None:
            records = records.filter(event_id__gte=event_id_at(since))
        if until is not None:
            records = records.filter(event_id__lt=event_id_at(until))
        return records

    def by_principal(self, name: str) -> "AuditRecordQuerySet":
        """By name as it was recorded: hashed when the policy says so."""
        return self.filter(principal=redaction_from_settings().principal_name(name))

    def matching(self, term: str) -> "AuditRecordQuerySet":
        """Exact matches of one word: an event id, a request id, a client address or a principal."""
        term = term.strip()[:LONGEST_TERM]
        identity = _as_uuid(term)
        if identity is not None:
            return self.filter(models.Q(request_id=term) | models.Q(event_id=identity))
        if _is_address(term):
            return self.filter(client_ip=redaction_from_settings().address(term))
        return self.filter(
            models.Q(request_id=term) | models.Q(principal=redaction_from_settings().principal_name(term))
        )

    # --- what Django's date hierarchy asks for, answered from both ends of the index -----------

    def aggregate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not args and set(kwargs) == {"first", "last"}:
            return {"first": self._time_at("event_id"), "last": self._time_at("-event_id")}
        return super().aggregate(*args, **kwargs)

    def datetimes(self, field_name: str, kind: str, *args: Any, **kwargs: Any) -> Any:
        """Every year, month or day between the first record and the last, with records or without."""
        first, last = self._time_at("event_id"), self._time_at("-event_id")
        if first is None or last is None:
            return []
        moment, moments = _start_of(first.astimezone(UTC), kind), []
        while moment <= last:
            moments.append(moment)
            moment = _start_of(moment + timedelta(days={"year": 366, "month": 31, "day": 1}[kind]), kind)
        return moments

    def _time_at(self, order: str) -> datetime | None:
        return self.order_by(order).values_list("time", flat=True).first()


def records() -> AuditRecordQuerySet:
    return AuditRecordQuerySet(AuditRecord)


def period_of(parameters: Any) -> tuple[datetime | None, datetime | None]:
    """The period that `time__year`, `time__month` and `time__day` name, of the admin's date hierarchy."""
    try:
        year = int(parameters["time__year"])
        month, day = int(parameters.get("time__month", 0)), int(parameters.get("time__day", 0))
        since = datetime(year, month or 1, day or 1, tzinfo=UTC)
    except (KeyError, ValueError):
        return None, None
    kind = "day" if day else "month" if month else "year"
    length = {"year": 366, "month": 31, "day": 1}[kind]
    return since, _start_of(since + timedelta(days=length), kind)


def _start_of(moment: datetime, kind: str) -> datetime:
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "day":
        return start
    return start.replace(day=1) if kind == "month" else start.replace(month=1, day=1)


def _as_uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
