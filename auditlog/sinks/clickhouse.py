"""Store records in a ClickHouse table, by month, removed by TTL, and answer /v1/audit from it.

Idempotent: ReplacingMergeTree keeps one row of an event id when it merges, and the questions here
look at one row of an event id before that.
"""

import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson
from django.conf import settings

from auditlog import recorder
from auditlog.api.questions import TEXTS, Question
from auditlog.configuration import redaction_from_settings
from auditlog.models import event_id_at
from auditlog.rows import COLUMNS, columns_of
from auditlog.sinks.sink import (
    Frame,
    SinkMisconfigured,
    SinkRejected,
    SinkUnavailable,
    json_line,
)

TABLE = "gatehouse_audit"
TIMEOUT_SECONDS = 20
# Event ids are text: ClickHouse orders the type UUID by its second half.
_TYPES = {
    "event_id": "String",
    "time": "DateTime64(6, 'UTC')",
    "event": "LowCardinality(String)",
    "node": "LowCardinality(String)",
    "chain": "String",
    "sequence": "UInt64",
    "route": "LowCardinality(String)",
    "method": "LowCardinality(String)",
    "decision": "LowCardinality(String)",
    "status": "Nullable(Int32)",
}


def table_definition(retention_days: int) -> str:
    """The DDL: one row an event id, in order of time; expired rows go by themselves."""
    columns = ", ".join(f"{name} {_TYPES.get(name, 'String')}" for name in COLUMNS)
    ttl = f" TTL {_expiry(retention_days)}" if retention_days > 0 else ""
    indexes = ", ".join(
        f"INDEX by_{name} {name} TYPE bloom_filter GRANULARITY 4" for name in ("request_id", "principal")
    )
    return (
        f"CREATE TABLE IF NOT EXISTS {TABLE} ({columns}, {indexes}) ENGINE = ReplacingMergeTree "
        f"PARTITION BY toYYYYMM(time) ORDER BY event_id{ttl}"
    )


def _expiry(retention_days: int) -> str:
    # As the server writes it back.
    return f"toDateTime(time) + toIntervalDay({retention_days})"


class ClickHouseSink:
    """One client; the table is made at the first batch, and its TTL is the present setting from then on."""

    def __init__(self, dsn: str, retention_days: int) -> None:
        self._dsn, self._retention_days = dsn, retention_days
        self._client: Any = None

    def deliver(self, frames: Sequence[Frame]) -> None:
        lines, refused = _lines(frames)
        from clickhouse_connect.driver.exceptions import ClickHouseError

        try:
            if self._client is None:
                self._client = connect(self._dsn)
                self._client.command(table_definition(self._retention_days))
                self._apply_retention()
            if lines:
                self._client.raw_insert(TABLE, COLUMNS, b"\n".join(lines), fmt="JSONEachRow")
        except (ClickHouseError, OSError) as error:
            self.close()
            raise SinkUnavailable(f"{type(error).__name__}: {str(error)[:200]}") from error
        if refused:
            raise SinkRejected(refused)

    def _apply_retention(self) -> None:
        """The table may be of a time when the setting was another one: that it is changed is recorded."""
        question = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
        engine = str(self._client.command(question, parameters={"name": TABLE}))
        wanted = f"TTL {_expiry(self._retention_days)}"
        if self._retention_days > 0 and wanted not in engine:
            self._client.command(f"ALTER TABLE {TABLE} MODIFY {wanted}")
        elif self._retention_days <= 0 and " TTL " in engine:
            self._client.command(f"ALTER TABLE {TABLE} REMOVE TTL")
        else:
            return
        recorder.record("retention_set", {"sink": "clickhouse", "days": self._retention_days})

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def open_sink() -> ClickHouseSink:
    try:
        import clickhouse_connect  # noqa: F401 - an optional driver
    except ImportError as error:
        raise SinkMisconfigured("the clickhouse sink needs the package clickhouse-connect") from error
    if not settings.GATEWAY_CLICKHOUSE_URL:
        raise SinkMisconfigured("the clickhouse sink needs GATEWAY_CLICKHOUSE_URL")
    return ClickHouseSink(settings.GATEWAY_CLICKHOUSE_URL, settings.GATEWAY_AUDIT_RETENTION_DAYS)


def connect(dsn: str) -> Any:
    """A client for http(s)://… or clickhouse(s)://USER:PASSWORD@HOST:PORT/DATABASE."""
    import clickhouse_connect

    return clickhouse_connect.get_client(
        dsn=_http_scheme(dsn), connect_timeout=5, send_receive_timeout=TIMEOUT_SECONDS
    )


def find_records(question: Question) -> list[tuple[uuid.UUID, bytes]]:
    """The answer to a question of /v1/audit: up to `limit` + 1 records as JSON lines, newest first."""
    conditions, parameters = _conditions(question)
    client = connect(settings.GATEWAY_CLICKHOUSE_URL)
    try:
        result = client.query(
            f"SELECT event_id, hash, body FROM {TABLE} WHERE {' AND '.join(conditions) or '1'} "  # noqa: S608
            f"ORDER BY event_id DESC LIMIT 1 BY event_id LIMIT {question.limit + 1:d}",
            parameters=parameters,
        )
    finally:
        client.close()
    return [
        (uuid.UUID(event_id), json_line(Frame(bytes.fromhex(digest), body.encode())))
        for event_id, digest, body in result.result_rows
    ]


def _conditions(question: Question) -> tuple[list[str], dict[str, Any]]:
    """SQL with named parameters of the server's own: no value becomes part of the text."""
    conditions, parameters = [], {}
    bounds = (
        ("<", "after", question.after),
        (">=", "since", question.since and event_id_at(question.since)),
        ("<", "until", question.until and event_id_at(question.until)),
    )
    for sign, name, bound in bounds:
        if bound is not None:
            conditions.append(f"event_id {sign} {{{name}:String}}")
            parameters[name] = str(bound)
    if question.status is not None:
        conditions.append("status = {status:Int32}")
        parameters["status"] = question.status
    for name in TEXTS:
        value = getattr(question, name)
        if value is not None:
            conditions.append(f"{name} = {{{name}:String}}")
            parameters[name] = (
                redaction_from_settings().principal_name(value) if name == "principal" else value
            )
    return conditions, parameters


def _lines(frames: Sequence[Frame]) -> tuple[list[bytes], dict[int, str]]:
    lines, refused = [], {}
    for index, frame in enumerate(frames):
        try:
            row = dict(zip(COLUMNS, columns_of(frame), strict=True))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            refused[index] = f"no record: {error}"
            continue
        row["time"] = row["time"].replace("T", " ").rstrip("Z")
        row["hash"] = frame.digest.hex()
        lines.append(orjson.dumps(row))
    return lines, refused


def _http_scheme(dsn: str) -> str:
    parts = urlsplit(dsn)
    scheme = {"clickhouse": "http", "clickhouses": "https"}.get(parts.scheme, parts.scheme)
    return urlunsplit(parts._replace(scheme=scheme))
