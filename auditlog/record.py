"""One record: its envelope, its encoding, what of it is escaped and redacted.

docs/audit-schema.json describes the result. Pure but for the clock it is handed.
"""

import re
import uuid
from typing import Any

import orjson

from auditlog.block import SCHEMA_VERSION, event_id, time_text
from auditlog.escaping import DEFAULT_LIMIT, FIELD_LIMITS, escape_text, is_plain_line
from auditlog.redaction import REMOVED, Redaction

# A record shorter than this has no field over its limit.
SHORT_BYTES = min(FIELD_LIMITS["user_agent"], DEFAULT_LIMIT) + 1024
MAX_DEPTH = 6
MAX_ITEMS = 200

# The envelope stands first in the line; a field of the caller's that has such a name is renamed.
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
ENVELOPE = ("schema", "event_id", "time", "event", "node", "chain", "sequence")
# What readers and sinks add at the end of the line.
CLOSING = ("block", "hash")
# Written for the log's own sake: they prove it and say nothing of requests or changes.
LOG_KEEPING_EVENTS = ("chain_opened", "chain_closed", "checkpoint", "chains_anchored")
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
# User agents, hosts and rules repeat: combinations that need no change are remembered, bounded.
WORDS_REMEMBERED = 2048
REMEMBERED_CHARACTERS = 768


class RecordEncoder:
    """Turns events of one process into encoded records; holds what is the same in all of them."""

    def __init__(self, node: str, chain: uuid.UUID, redaction: Redaction) -> None:
        self.redaction = redaction
        self._chain = str(chain)
        self._node = orjson.dumps(escape_text(node, 255)).decode()
        self._source = f'"node":{self._node},"chain":"{chain}",'
        self._events: set[str] = set()
        self._known: dict[tuple[Any, ...], str] = {}

    def source(self) -> orjson.Fragment:
        """Node and chain, as a block has them."""
        return orjson.Fragment(f'[{self._node},"{self._chain}"]')

    def encode(self, event: str, fields: dict[str, Any], now: float, sequence: int) -> bytes:
        """One line of JSON without its end. Raises orjson.JSONEncodeError for what JSON can't hold.

        The usual record of the data plane goes straight to JSON; whatever is long, strange or
        suspicious in it is looked at field by field.
        """
        redaction = self.redaction
        fields = fields.copy()
        query = fields.get("query")
        if query is not None:
            fields["query"] = redaction.query(query) if query else ""
        if redaction.principal != "keep" and fields.get("principal"):
            fields["principal"] = redaction.principal_name(str(fields["principal"]))
        if redaction.ip != "keep" and fields.get("client_ip"):
            fields["client_ip"] = redaction.address(str(fields["client_ip"]))
        # Known names only, so none of them is the envelope's.
        if not fields or not DATA_PLANE_FIELDS.issuperset(fields) or self._needs_care(fields):
            return self._encode_with_care(event, fields, now, sequence)
        try:
            body = self.opening(event, now, sequence) + orjson.dumps(fields)[1:]
        except orjson.JSONEncodeError:
            return self._encode_with_care(event, fields, now, sequence)
        if len(body) <= SHORT_BYTES and is_plain_line(body):
            return body
        return self._encode_with_care(event, fields, now, sequence)

    def opening(self, event: str, now: float, sequence: int) -> bytes:
        """The opening of the line, up to the comma before the fields."""
        if event not in self._events:
            event = self._learn_event(event)
        at = int(now * 1_000_000)
        return (
            f'{{"schema":{SCHEMA_VERSION},"event_id":"{event_id(at // 1000, self._chain, sequence)}",'
            f'"time":"{time_text(at)}","event":"{event}",{self._source}"sequence":{sequence},'
        ).encode()

    def _learn_event(self, event: str) -> str:
        """The name as it may stand in the line: it is the code's own word, never a client's."""
        if not _EVENT.fullmatch(event):
            return "unnamed_event"
        self._events.add(event)
        return event

    def _needs_care(self, fields: dict[str, Any]) -> bool:
        """Look at a client's words: those that repeat are remembered, the others searched once."""
        get = fields.get
        words = (get("user_agent"), get("host"), get("method"), get("rule"), get("reason"))
        agent = self._known.get(words)
        if agent is None:
            if not self._are_harmless(words):
                return True
            agent = self._known[words]
        if agent:
            fields["user_agent"] = agent
        return self.redaction.may_hide(f"{get('path')}\n{get('request_id')}\n{get('trace_id')}")

    def _are_harmless(self, words: tuple[Any, ...]) -> bool:
        """Whether these words need no redaction; remembers them if so."""
        agent = words[0] or ""
        try:
            agent = agent if isinstance(agent, str) else agent.decode("ascii")
        except UnicodeDecodeError:
            return False
        text = "\n".join((agent, *(str(word) for word in words[1:])))
        if len(text) > REMEMBERED_CHARACTERS or self.redaction.may_hide(text):
            return False
        if words[2] is not None and self.redaction.method(str(words[2])) == REMOVED:
            return False
        if len(self._known) >= WORDS_REMEMBERED:
            self._known.clear()
        self._known[words] = agent
        return True

    def _encode_with_care(self, event: str, fields: dict[str, Any], now: float, sequence: int) -> bytes:
        """Look at every field: redact, escape, cut."""
        fields = self._without_strange_method(fields)
        careful: dict[str, Any] = {}
        for name, value in fields.items():
            if name in ENVELOPE or name in CLOSING:
                name = f"{name}_"
            if type(value) is str and name in OWN_FIELDS and len(value) <= DEFAULT_LIMIT:
                careful[name] = escape_text(value)
            elif value is None or type(value) is float:
                careful[name] = value
            else:
                name = escape_text(str(name), 64)
                careful[name] = self._careful(name, value, depth=0)
        opening = self.opening(event, now, sequence)
        rest = orjson.dumps(careful)[1:]
        return opening + rest if careful else opening[:-1] + rest

    def _without_strange_method(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A method that is none may be a secret in the wrong place; the reason quotes it."""
        method = fields.get("method")
        if not isinstance(method, str) or self.redaction.method(method) == method:
            return fields
        quoting = {
            name: fields[name].replace(method, REMOVED)
            for name in ("reason", "rule")
            if isinstance(fields.get(name), str)
        }
        return fields | quoting | {"method": REMOVED}

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
            return {
                escape_text(self.redaction.text(str(key)), 128): self._careful(name, item, depth + 1)
                for key, item in items
            }
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
