"""Encode spooled frames as rows of PostgreSQL's binary COPY into the audit table. Pure.

Binary, because the server would parse every time, id and hash of the text format, and Python would
decode and escape every body to make it. The format is in PostgreSQL's manual, chapter COPY.
"""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson

from auditlog.rows import COLUMNS, column_text
from auditlog.segment import DIGEST_BYTES, Frame

# Signature, flags, length of the header's extension.
OPENING = b"PGCOPY\n\xff\r\n\0" + bytes(8)
CLOSING = struct.pack(">h", -1)
# PostgreSQL counts microseconds from here.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# The number of fields, then the first two: 16 bytes of event id, 8 of time.
_HEAD = struct.Struct(">hi16siq")
_BIG = struct.Struct(">iq")
_INTEGER = struct.Struct(">ii")
_LENGTH = struct.Struct(">i")
_NULL = _LENGTH.pack(-1)
_UUID_LENGTH = _LENGTH.pack(16)
_DIGEST_LENGTH = _LENGTH.pack(DIGEST_BYTES)
# Names, routes and addresses repeat: their encodings are remembered, bounded.
REMEMBERED = 4096


class CopyRows:
    """Encodes rows for one connection; remembers what repeats."""

    def __init__(self) -> None:
        self._texts: dict[str | None, bytes] = {}
        self._chains: dict[str, bytes] = {}

    def encode(self, frame: Frame) -> tuple[bytes, bytes]:
        """The event id (16 bytes) and the row.

        Raises ValueError, KeyError, TypeError, AttributeError or struct.error when the body is no record.
        """
        record = frame.record or orjson.loads(frame.body)
        get = record.get
        event_id = _uuid_bytes(record["event_id"])
        chain = self._chains.get(record["chain"]) or self._learn_chain(record["chain"])
        words = (record["event"], record["node"], get("principal"), get("route"))
        words += (get("method"), get("decision"), get("client_ip"))
        try:
            texts = self._texts
            event, node, principal, route, method, decision, address = [texts[word] for word in words]
        except (KeyError, TypeError):
            event, node, principal, route, method, decision, address = self._learn(words)
        status = get("status")
        moment = datetime.fromisoformat(record["time"]) - _EPOCH
        microseconds = (moment.days * 86_400 + moment.seconds) * 1_000_000 + moment.microseconds
        request_id, path = column_text(get("request_id")).encode(), (get("path") or "").encode()
        row = b"".join(
            (
                _HEAD.pack(len(COLUMNS), 16, event_id, 8, microseconds),
                event,
                node,
                chain,
                _BIG.pack(8, record["sequence"]),
                _LENGTH.pack(len(request_id)),
                request_id,
                principal,
                route,
                method,
                _LENGTH.pack(len(path)),
                path,
                _INTEGER.pack(4, status) if type(status) is int and -(2**31) <= status < 2**31 else _NULL,
                decision,
                address,
                _LENGTH.pack(len(frame.body)),
                frame.body,
                _DIGEST_LENGTH,
                frame.digest,
            )
        )
        return event_id, row

    def _learn_chain(self, chain: str) -> bytes:
        if len(self._chains) > REMEMBERED:
            self._chains.clear()
        encoded = self._chains[chain] = _UUID_LENGTH + _uuid_bytes(chain)
        return encoded

    def _learn(self, words: Iterable[Any]) -> list[bytes]:
        """Columns that hold the first characters of a value, as in rows.columns_of."""
        if len(self._texts) > REMEMBERED:
            self._texts.clear()
        columns = []
        for word in words:
            encoded = column_text(word).encode()
            columns.append(_LENGTH.pack(len(encoded)) + encoded)
            # 1, 1.0 and True would be one key.
            if word is None or type(word) is str:
                self._texts[word] = columns[-1]
        return columns


def _uuid_bytes(text: str) -> bytes:
    identity = bytes.fromhex(text.replace("-", ""))
    if len(identity) != 16:
        raise ValueError("no UUID")
    return identity
