"""The audit records as rows, and what the shippers say of themselves. Written by sinks, never edited."""

import uuid
from datetime import datetime
from typing import Any

from django.db import models


class AuditRecord(models.Model):
    """One record. `body` is the text that the hash covers; the columns are copies to search by.

    The event id is a UUIDv7, so it orders by time and PostgreSQL partitions by it: the primary key
    of a partitioned table must hold the partition key, and no second column is needed this way.
    """

    event_id = models.UUIDField(primary_key=True, editable=False)
    time = models.DateTimeField()
    event = models.CharField(max_length=64)
    node = models.CharField(max_length=255)
    chain = models.UUIDField()
    sequence = models.BigIntegerField()
    request_id = models.CharField(max_length=255, blank=True)
    principal = models.CharField(max_length=255, blank=True)
    route = models.CharField(max_length=255, blank=True)
    method = models.CharField(max_length=64, blank=True)
    path = models.TextField(blank=True)
    status = models.IntegerField(null=True)
    decision = models.CharField(max_length=255, blank=True)
    client_ip = models.CharField(max_length=255, blank=True)
    body = models.TextField()
    hash = models.BinaryField(max_length=32)

    class Meta:
        ordering = ["-event_id"]
        indexes = [
            models.Index(fields=["request_id", "event_id"], name="audit_request"),
            models.Index(fields=["principal", "event_id"], name="audit_principal"),
            models.Index(fields=["route", "event_id"], name="audit_route"),
            models.Index(fields=["client_ip", "event_id"], name="audit_client_ip"),
            models.Index(fields=["chain", "sequence"], name="audit_chain"),
            # Nearly all records have these values: whoever asks for one of them finds it at once in
            # the primary key, and an index entry of each would only cost its writing.
            models.Index(
                fields=["event", "event_id"],
                name="audit_event",
                condition=~models.Q(event="request_completed"),
            ),
            models.Index(
                fields=["decision", "event_id"], name="audit_decision", condition=~models.Q(decision="allow")
            ),
            models.Index(
                fields=["status", "event_id"],
                name="audit_status",
                # Not "unequal": of the two the planner can tell that 503 is in the index.
                condition=models.Q(status__lt=200) | models.Q(status__gt=200),
            ),
        ]
        verbose_name = "audit record"

    def __str__(self) -> str:
        return f"{self.event} {self.event_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        raise ImmutableRecord("audit records are written by the shipper alone")

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise ImmutableRecord("audit records are removed by the retention task alone")


class ImmutableRecord(TypeError):
    """Code tried to change or remove an audit record as if it were an ordinary row."""


class ShipperStatus(models.Model):
    """What the shipper of a host last said of one of its sinks. A report, not the truth: the cursor is."""

    node = models.CharField(max_length=255)
    sink = models.CharField(max_length=64)
    delivered = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0, help_text="Attempts that did not succeed.")
    undeliverable = models.BigIntegerField(default=0, help_text="Records set aside after the last attempt.")
    lag_seconds = models.FloatField(default=0)
    spool_bytes = models.BigIntegerField(default=0)
    last_error = models.TextField(blank=True)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "sink"], name="shipper_status_once")]
        ordering = ["node", "sink"]
        verbose_name = "audit delivery"
        verbose_name_plural = "audit deliveries"

    def __str__(self) -> str:
        return f"{self.sink} on {self.node}"


def event_id_at(moment: datetime) -> uuid.UUID:
    """The smallest event id of that millisecond: time bounds are bounds of the primary key."""
    return uuid.UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)
