"""Turn a spooled frame into the columns of an AuditRecord. Pure."""

from typing import Any

import orjson

from auditlog.segment import Frame

COLUMNS = (
    "event_id",
    "time",
    "event",
    "node",
    "chain",
    "sequence",
    "request_id",
    "principal",
    "route",
    "method",
    "path",
    "status",
    "decision",
    "client_ip",
    "body",
    "hash",
)
# A column that is searched by has an index, whose entries PostgreSQL limits to 2.7 kB. The body
# keeps the whole value.
LIMIT = 255


_TEXTS_BEFORE_STATUS = ("request_id", "principal", "route", "method")
_TEXTS_AFTER_STATUS = ("decision", "client_ip")


def columns_of(frame: Frame) -> list[Any]:
    """Values in the order of COLUMNS: text for ids and time, bytes for the hash.

    Raises ValueError, KeyError, TypeError or AttributeError when the body is no record.
    """
    record = frame.record or orjson.loads(frame.body)
    get = record.get
    status = get("status")
    return [
        record["event_id"],
        record["time"],
        record["event"],
        record["node"],
        record["chain"],
        record["sequence"],
        *[
            value if type(value := get(name)) is str and len(value) <= LIMIT else column_text(value)
            for name in _TEXTS_BEFORE_STATUS
        ],
        get("path") or "",
        status if type(status) is int and -(2**31) <= status < 2**31 else None,
        *[
            value if type(value := get(name)) is str and len(value) <= LIMIT else column_text(value)
            for name in _TEXTS_AFTER_STATUS
        ],
        frame.body.decode(),
        frame.digest,
    ]


def column_text(value: Any) -> str:
    """What a searchable column holds of a value."""
    return "" if value is None else str(value)[:LIMIT]
