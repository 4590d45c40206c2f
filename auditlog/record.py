"""One record: its envelope, its encoding, what of it is escaped and redacted.

docs/audit-schema.json describes the result. Pure but for the clock it is handed.
"""

import re
import time
import uuid
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import orjson

from auditlog.escaping import DEFAULT_LIMIT, FIELD_LIMITS, escape_text, is_plain_line
from auditlog.redaction import REMOVED, Redaction

SCHEMA_VERSION = 1
# A record shorter than this has no field over its limit.
SHORT_BYTES = min(FIELD_LIMITS["user_agent"], DEFAULT_LIMIT) + 1024
MAX_DEPTH = 6
MAX_ITEMS = 200

# The envelope stands first in the line; a field of the caller's that has such a name is renamed.
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
ENVELOPE = ("schema", "event_id", "time", "event", "node", "chain", "sequence")
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
# Ids of our own making, and any other that is nothing but a UUID.
_OWN_ID = re.compile(r"[0-9a-f-]{32,36}").fullmatch
# User agents, hosts and rules repeat: combinations that need no change are remembered, bounded.
WORDS_REMEMBERED = 2048
REMEMBERED_CHARACTERS = 768


class Occurrence(NamedTuple):
    """What is new in each record of a request that was let through; the rest of it repeats.

    Sizes are bytes, times milliseconds; `query` is as it was sent.
    """

    request_id: str
    trace_id: str
    path: str
    query: bytes
    status: int
    bytes_in: int
    bytes_out: int
    duration_ms: float
    upstream_ms: float | None

    def fields(self) -> dict[str, Any]:
        """The same as the fields of a record of any kind."""
        fields = self._asdict()
        if not self.query:
            del fields["query"]
        if self.upstream_ms is None:
            del fields["upstream_ms"]
        else:
            fields["upstream_ms"] = round(self.upstream_ms, 3)
        fields["duration_ms"] = round(self.duration_ms, 3)
        return fields


class RecordEncoder:
    """Turns events of one process into encoded records; holds what is the same in all of them."""

    def __init__(self, node: str, chain: uuid.UUID, redaction: Redaction) -> None:
        self.redaction = redaction
        self._chain = str(chain)
        node_text = orjson.dumps(escape_text(node, 255)).decode()
        self._source = f'"node":{node_text},"chain":"{chain}",'
        # The chain id is a UUIDv7: its random bits make this process's event ids its own.
        self._tail = self._chain[14:28]
        self._milliseconds, self._prefix = -1, ""
        self._second, self._second_text = -1, ""
        self._events: set[str] = set()
        self._known: dict[tuple[Any, ...], str] = {}
        self._repeated: dict[Hashable, str] = {}
        self._clean_paths: set[str] = set()

    def event_id(self, now: float, sequence: int) -> str:
        """UUIDv7: milliseconds, 42 random bits of this process, then the sequence (32 bits)."""
        milliseconds = int(now * 1000)
        if milliseconds != self._milliseconds:
            stamp = f"{milliseconds:012x}"
            self._milliseconds, self._prefix = milliseconds, f"{stamp[:8]}-{stamp[8:]}-{self._tail}"
        return f"{self._prefix}{sequence & 0xFFFFFFFF:08x}"

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
        if not DATA_PLANE_FIELDS.issuperset(fields) or self._needs_care(fields):
            return self._encode_with_care(event, fields, now, sequence)
        try:
            body = self._envelope(event, now, sequence) + orjson.dumps(fields)[1:]
        except orjson.JSONEncodeError:
            return self._encode_with_care(event, fields, now, sequence)
        if len(body) <= SHORT_BYTES and is_plain_line(body):
            return body
        return self._encode_with_care(event, fields, now, sequence)

    def encode_repeating(
        self,
        event: str,
        key: Hashable,
        repeated: Callable[[Any], dict[str, Any]],
        subject: Any,
        occurrence: Occurrence,
        now: float,
        sequence: int,
    ) -> tuple[bytes, bool]:
        """The line of a request like others before it, and whether its words are plain.

        What `key` stands for is worked out once, by `repeated(subject)`, and remembered as it is written. Words that
        are not plain (long, strange, suspicious) send the record through `encode`.
        """
        request_id, trace_id, path, query, status, bytes_in, bytes_out, duration_ms, upstream_ms = occurrence
        known = self._repeated.get(key)
        if known is None:
            known = self._remember(key, repeated(subject))
        if (
            not known
            or (path not in self._clean_paths and not self._is_clean_path(path))
            or (_OWN_ID(request_id) is None and not self._is_clean(request_id))
            or (trace_id is not request_id and _OWN_ID(trace_id) is None and not self._is_clean(trace_id))
        ):
            return self.encode(event, repeated(subject) | occurrence.fields(), now, sequence), False
        sent = ""
        if query:
            redacted = self.redaction.query(query)
            if len(redacted) > FIELD_LIMITS["query"] or not _is_plain(redacted):
                return self.encode(event, repeated(subject) | occurrence.fields(), now, sequence), False
            sent = f',"query":"{redacted}"'
        upstream = "" if upstream_ms is None else f',"upstream_ms":{upstream_ms:.3f}'
        return (
            f'{self._opening(event, now, sequence)}{known},"request_id":"{request_id}","trace_id":"{trace_id}",'
            f'"path":"{path}"{sent},"status":{status},"bytes_in":{bytes_in},"bytes_out":{bytes_out},'
            f'"duration_ms":{duration_ms:.3f}{upstream}}}'
        ).encode(), True

    def _is_clean_path(self, path: str) -> bool:
        """Whether a path can be written as it is; remembers those that can, as they repeat."""
        if len(path) > REMEMBERED_CHARACTERS or not self._is_clean(path):
            return False
        if len(self._clean_paths) >= WORDS_REMEMBERED:
            self._clean_paths.clear()
        self._clean_paths.add(path)
        return True

    def _is_clean(self, text: str) -> bool:
        return _is_plain(text) and not self.redaction.needs_look(text)

    def _remember(self, key: Hashable, fields: dict[str, Any]) -> str:
        """The repeated fields as JSON without braces; "" when they can't be used again as they are."""
        opening = self._envelope("request_completed", 0.0, 0)
        body = self.encode("request_completed", fields, 0.0, 0)
        known = body[len(opening) : -1].decode() if body.startswith(opening) and is_plain_line(body) else ""
        if len(self._repeated) >= WORDS_REMEMBERED:
            self._repeated.clear()
        self._repeated[key] = known
        return known

    def _envelope(self, event: str, now: float, sequence: int) -> bytes:
        return self._opening(event, now, sequence).encode()

    def _opening(self, event: str, now: float, sequence: int) -> str:
        """The opening of the line, up to the comma before the fields."""
        if event not in self._events:
            event = self._learn_event(event)
        second = int(now)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return (
            f'{{"schema":{SCHEMA_VERSION},"event_id":"{self.event_id(now, sequence)}","time":"{self._second_text}'
            f'.{int((now - second) * 1_000_000):06d}Z","event":"{event}",{self._source}'
            f'"sequence":{sequence},'
        )

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
        return self.redaction.needs_look(f"{get('path')}\n{get('request_id')}\n{get('trace_id')}")

    def _are_harmless(self, words: tuple[Any, ...]) -> bool:
        """Whether these words need no redaction; remembers them if so."""
        agent = words[0] or ""
        try:
            agent = agent if isinstance(agent, str) else agent.decode("ascii")
        except UnicodeDecodeError:
            return False
        text = "\n".join((agent, *(str(word) for word in words[1:])))
        if len(text) > REMEMBERED_CHARACTERS or self.redaction.needs_look(text):
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
            if name in ENVELOPE:
                name = f"{name}_"
            if type(value) is str and name in OWN_FIELDS and len(value) <= DEFAULT_LIMIT:
                careful[name] = escape_text(value)
            elif value is None or type(value) is float:
                careful[name] = value
            else:
                name = escape_text(str(name), 64)
                careful[name] = self._careful(name, value, depth=0)
        opening = self._envelope(event, now, sequence)
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


def _is_plain(text: str) -> bool:
    """Whether JSON writes it as it is."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def new_chain_id(now: float, random_bits: int) -> uuid.UUID:
    """UUIDv7 of a process's start; `random_bits` is 74 bits of randomness."""
    value = (int(now * 1000) & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random_bits >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | random_bits & (1 << 62) - 1
    return uuid.UUID(int=value)
