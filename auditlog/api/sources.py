"""Where the answers of /v1/audit come from: ClickHouse when it is configured, else the database."""

import uuid
from collections.abc import Callable

from django.conf import settings

from auditlog.api.questions import TEXTS, Question
from auditlog.query import records
from auditlog.segment import Frame
from auditlog.sinks.sink import json_line

Answer = list[tuple[uuid.UUID, bytes]]


def choose_source() -> Callable[[Question], Answer]:
    if settings.GATEWAY_CLICKHOUSE_URL and "clickhouse" in settings.GATEWAY_AUDIT_SINKS:
        from auditlog.sinks.clickhouse import find_records

        return find_records
    return find_in_database


def find_in_database(question: Question) -> Answer:
    """Up to `limit` + 1 records as lines of JSON, newest first: the one too many says that there are more."""
    found = records().in_period(question.since, question.until).order_by("-event_id")
    if question.after is not None:
        found = found.filter(event_id__lt=question.after)
    if question.status is not None:
        found = found.filter(status=question.status)
    for name in TEXTS:
        value = getattr(question, name)
        if value is not None:
            found = found.by_principal(value) if name == "principal" else found.filter(**{name: value})
    rows = found.values_list("event_id", "hash", "body")[: question.limit + 1]
    return [(event_id, json_line(Frame(bytes(digest), body.encode()))) for event_id, digest, body in rows]
