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


def columns_of(frame: Frame) -> list[Any]:
    """Values in the order of COLUMNS: text for ids and time, bytes for the hash.

    Raises ValueError when the body is no record.
    """
    record = orjson.loads(frame.body)
    get = record.get
    status = get("status")
    return [
        record["event_id"],
        record["time"],
        _text(record, "event"),
        _text(record, "node"),
        record["chain"],
        record["sequence"],
        _text(record, "request_id"),
        _text(record, "principal"),
        _text(record, "route"),
        _text(record, "method"),
        str(get("path") or ""),
        status if type(status) is int and -(2**31) <= status < 2**31 else None,
        _text(record, "decision"),
        _text(record, "client_ip"),
        frame.body.decode(),
        frame.digest,
    ]


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if type(value) is not str:
        value = str(value)
    return value if len(value) <= LIMIT else value[:LIMIT]
