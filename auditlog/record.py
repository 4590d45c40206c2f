"""One record: its envelope, its encoding, what of it is escaped and redacted.

docs/audit-schema.json describes the result. Pure but for the clock it is handed.
"""

import uuid
from datetime import UTC, datetime
from typing import Any

import orjson

from auditlog.escaping import DEFAULT_LIMIT, FIELD_LIMITS, escape_text, is_plain_line
from auditlog.redaction import Redaction

SCHEMA_VERSION = 1
# A record shorter than this has no field over its limit.
SHORT_BYTES = min(FIELD_LIMITS["user_agent"], DEFAULT_LIMIT) + 1024
MAX_DEPTH = 6
MAX_ITEMS = 200

_OPTIONS = orjson.OPT_UTC_Z
# The envelope stands first in the line; a field of the caller's can't replace it.
ENVELOPE = ("schema", "event_id", "time", "event", "node", "chain", "sequence")
# The gateway's own words, from its configuration or its code: escaped and cut, but no place for a
# client's secret.
OWN_FIELDS = frozenset(
    {"principal", "principal_id", "credential", "credential_kind", "authenticator", "route", "service"}
    | {"target", "asset", "action", "grant", "decision", "revision", "client_ip", "status", "abort"}
    | {"bytes_in", "bytes_out", "duration_ms", "upstream_ms", "messages_in", "messages_out"}
    | {"close_code", "closed_by"}
)
# A client's words, or those that may quote them.
CLIENT_FIELDS = frozenset(
    {"path", "query", "host", "user_agent", "request_id", "trace_id", "method", "reason", "rule"}
)
DATA_PLANE_FIELDS = OWN_FIELDS | CLIENT_FIELDS
# User agents repeat: those that need no change are remembered, whole and bounded.
AGENTS_REMEMBERED = 2048


class RecordEncoder:
    """Turns events of one process into encoded records; holds what is the same in all of them."""

    def __init__(self, node: str, chain: uuid.UUID, redaction: Redaction) -> None:
        self.redaction = redaction
        self._skeleton: dict[str, Any] = dict.fromkeys(ENVELOPE)
        self._skeleton |= {"schema": SCHEMA_VERSION, "node": escape_text(node, 255), "chain": str(chain)}
        self._node, self._chain = self._skeleton["node"], str(chain)
        # The chain id is a UUIDv7: its random bits make this process's event ids its own.
        self._tail = self._chain[14:28]
        self._milliseconds, self._prefix = -1, ""
        self._agents: dict[bytes | str, str] = {}

    def event_id(self, now: float, sequence: int) -> str:
        """UUIDv7: milliseconds, 42 random bits of this process, then the sequence (32 bits)."""
        milliseconds = int(now * 1000)
        if milliseconds != self._milliseconds:
            stamp = f"{milliseconds:012x}"
            self._milliseconds, self._prefix = milliseconds, f"{stamp[:8]}-{stamp[8:]}-{self._tail}"
        return f"{self._prefix}{sequence & 0xFFFFFFFF:08x}"

    def encode(self, event: str, fields: dict[str, Any], now: float, sequence: int) -> bytes:
        """One line of JSON without its end. Raises orjson.JSONEncodeError for what JSON can't hold."""
        record = self._skeleton.copy()
        record.update(fields)
        record["schema"] = SCHEMA_VERSION
        record["event_id"] = self.event_id(now, sequence)
        record["time"] = datetime.fromtimestamp(now, UTC)
        record["event"] = event
        record["node"] = self._node
        record["chain"] = self._chain
        record["sequence"] = sequence
        redaction = self.redaction
        query = record.get("query")
        if query is not None:
            record["query"] = redaction.query(query) if query else ""
        if redaction.principal != "keep" and record.get("principal"):
            record["principal"] = redaction.principal_name(str(record["principal"]))
        if redaction.ip != "keep" and record.get("client_ip"):
            record["client_ip"] = redaction.address(str(record["client_ip"]))
        if not DATA_PLANE_FIELDS.issuperset(fields) or self._has_something_to_hide(record):
            return self._encode_with_care(record)
        try:
            body = orjson.dumps(record, option=_OPTIONS)
        except orjson.JSONEncodeError:
            return self._encode_with_care(record)
        if len(body) <= SHORT_BYTES and is_plain_line(body):
            return body
        return self._encode_with_care(record)

    def _has_something_to_hide(self, record: dict[str, Any]) -> bool:
        """Look once at all of a client's words; a known user agent needs no second look."""
        get = record.get
        words = (
            f"{get('path')}\n{get('request_id')}\n{get('trace_id')}\n{get('host')}\n{get('method')}"
            f"\n{get('reason')}\n{get('rule')}"
        )
        agent = get("user_agent")
        if agent is None:
            return self.redaction.needs_look(words)
        known = self._agents.get(agent)
        if known is None:
            known = self._look_at_agent(agent)
            if known is None:
                return True
        record["user_agent"] = known
        return self.redaction.needs_look(words)

    def _look_at_agent(self, agent: bytes | str) -> str | None:
        try:
            text = agent if isinstance(agent, str) else agent.decode("ascii")
        except UnicodeDecodeError:
            return None
        if (
            len(text) > FIELD_LIMITS["user_agent"]
            or not text.isprintable()
            or self.redaction.needs_look(text)
        ):
            return None
        if len(self._agents) >= AGENTS_REMEMBERED:
            self._agents.clear()
        self._agents[agent] = text
        return text

    def _encode_with_care(self, record: dict[str, Any]) -> bytes:
        """Look at every field: redact, escape, cut."""
        careful = {name: record[name] for name in ENVELOPE}
        careful["event"] = escape_text(str(record["event"]), 64)
        for name, value in record.items():
            if name in careful:
                continue
            if type(value) is str and name in OWN_FIELDS and len(value) <= DEFAULT_LIMIT:
                careful[name] = escape_text(value)
            elif value is None or type(value) is float:
                careful[name] = value
            else:
                name = escape_text(str(name), 64)
                careful[name] = self._careful(name, value, depth=0)
        return orjson.dumps(careful, option=_OPTIONS)

    def _careful(self, name: str, value: Any, depth: int) -> Any:
        if isinstance(value, str | bytes):
            return self._careful_text(name, value)
        if isinstance(value, int):
            # Beyond 64 bits JSON readers lose digits.
            return value if -(2**63) <= value < 2**63 else str(value)
        if value is None or isinstance(value, float):
            return value
        if isinstance(value, dict) and depth < MAX_DEPTH:
            items = list(value.items())[:MAX_ITEMS]
            return {escape_text(str(key), 128): self._careful(name, item, depth + 1) for key, item in items}
        if isinstance(value, list | tuple | set | frozenset) and depth < MAX_DEPTH:
            return [self._careful(name, item, depth + 1) for item in list(value)[:MAX_ITEMS]]
        return self._careful_text(name, str(value))

    def _careful_text(self, name: str, value: str | bytes) -> str:
        limit = FIELD_LIMITS.get(name, DEFAULT_LIMIT)
        text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
        # Cut to a bound before the patterns run: their cost follows the length.
        length, text = len(text), text[: 2 * limit]
        if name == "path":
            text = self.redaction.path_text(text)
        elif name not in OWN_FIELDS:
            text = self.redaction.text(text)
        return escape_text(text, limit, length if length > len(text) else None)


def new_chain_id(now: float, random_bits: int) -> uuid.UUID:
    """UUIDv7 of a process's start; `random_bits` is 74 bits of randomness."""
    value = (int(now * 1000) & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random_bits >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | random_bits & (1 << 62) - 1
    return uuid.UUID(int=value)
