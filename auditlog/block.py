"""Records of one turn of the event loop, written and hashed as one. Pure: no files, no settings.

A turn answers many requests that have most of their words in common. A block holds those words once
and of each request what is new, in one JSON text with one hash:

    [version, number of records, [node, chain], sequence of the first, words, which words, occurrences]

Readers `expand` it to ordinary records. Each of these ends with the member `block`: sequence of the
block's first record, number of its records, and a checksum (CRC-32) of the record's own text, so that
`audit verify` can put the block together again (`collapse`) and name the record that was altered.
"""

import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from time import gmtime, strftime
from typing import Any

import orjson

from auditlog.segment import Frame

VERSION = 1
SCHEMA_VERSION = 1
EVENT = "request_completed"
MOST_RECORDS = 256
# Microseconds since the epoch, request id, trace id (None: the same), path, redacted query, status, bytes in,
# bytes out, microseconds in all, microseconds at the upstream. Texts are as they may be written: see is_plain.
Occurrence = tuple[int, str, str | None, str, str | None, int, int, int, int, int | None]

_OPENING = b"[%d," % VERSION
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_OF_THE_WORDS = frozenset(
    {"schema", "event_id", "time", "event", "node", "chain", "sequence", "block"}
    | {"request_id", "trace_id", "path", "query", "status", "bytes_in", "bytes_out"}
    | {"duration_ms", "upstream_ms"}
)


class BlockInconsistent(ValueError):
    """Records that say they are of one block can't be put together to one."""


def is_plain(text: str) -> bool:
    """Whether JSON writes it as it is."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def encode(
    source: orjson.Fragment,
    first: int,
    words: Sequence[orjson.Fragment],
    which: Sequence[int],
    occurrences: Sequence[Occurrence],
) -> bytes:
    """The block's text. Raises orjson.JSONEncodeError."""
    return orjson.dumps((VERSION, len(occurrences), source, first, words, which, occurrences))


def records_in(body: bytes) -> int:
    """How many records a frame holds; anything but a block is one."""
    if not body.startswith(_OPENING):
        return 1
    count = body[len(_OPENING) : body.find(b",", len(_OPENING))]
    return int(count) if count.isdigit() else 1


def expand(frame: Frame) -> list[Frame]:
    """The records of a frame as texts of their own, each with the frame's hash.

    What is no block, or can't be read as one, is returned as it is: sinks refuse what is no record.
    """
    if not frame.body.startswith(_OPENING):
        return [frame]
    try:
        return [Frame(frame.digest, body, record) for body, record in _expanded(frame.body)]
    except (ValueError, TypeError, KeyError, IndexError):
        return [frame]


def _expanded(body: bytes) -> list[tuple[bytes, dict[str, Any]]]:
    _, count, (node, chain), first, words, which, occurrences = orjson.loads(body)
    expanded = []
    for sequence, (index, occurrence) in enumerate(zip(which, occurrences, strict=True), start=first):
        at, request_id, trace_id, path, query, status, bytes_in, bytes_out, duration, upstream = occurrence
        record = {
            "schema": SCHEMA_VERSION,
            "event_id": event_id(at // 1000, chain, sequence),
            "time": time_text(at),
            "event": EVENT,
            "node": node,
            "chain": chain,
            "sequence": sequence,
            **words[index],
            "request_id": request_id,
            "trace_id": request_id if trace_id is None else trace_id,
            "path": path,
        }
        if query is not None:
            record["query"] = query
        record["status"] = status
        record["bytes_in"] = bytes_in
        record["bytes_out"] = bytes_out
        record["duration_ms"] = duration / 1000
        if upstream is not None:
            record["upstream_ms"] = upstream / 1000
        text = orjson.dumps(record)[:-1]
        body = b'%b,"block":[%d,%d,"%08x"]}' % (text, first, count, zlib.crc32(text))
        expanded.append((body, record))
    return expanded


def is_as_expanded(body: bytes, record: Mapping[str, Any]) -> bool:
    """Whether a record of a block is, to the letter, a text that `expand` makes; `record` is what it says."""
    text, _, rest = body.rpartition(b',"block":[')
    first, count, _ = record["block"]
    if rest != b'%d,%d,"%08x"]}' % (first, count, zlib.crc32(text)):
        return False
    # Of many spellings of the same (a null, another order, a digit that is rounded away) the hash covers one.
    try:
        ((alone, _),) = _expanded(_collapsed([record]))
    except (ValueError, TypeError, KeyError, IndexError):
        return False
    return alone.rpartition(b',"block":[')[0] == text


def collapse(records: Sequence[Mapping[str, Any]]) -> bytes:
    """The text of the block that these records, all of it and in order, were expanded from.

    Raises BlockInconsistent.
    """
    try:
        return _collapsed(records)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise BlockInconsistent(str(error)) from error


def _collapsed(records: Sequence[Mapping[str, Any]]) -> bytes:
    first = records[0]
    node, chain = first["node"], first["chain"]
    known: dict[bytes, int] = {}
    which, occurrences = [], []
    for record in records:
        at, sequence = _microseconds(record["time"]), record["sequence"]
        # They are worked out anew at every reading, so the hash does not cover them.
        derived = (SCHEMA_VERSION, event_id(at // 1000, chain, sequence), EVENT, node, chain)
        if derived != tuple(record[name] for name in ("schema", "event_id", "event", "node", "chain")):
            raise BlockInconsistent("its id, node or chain is not that of its block")
        words = orjson.dumps({name: record[name] for name in record if name not in _NOT_OF_THE_WORDS})
        which.append(known.setdefault(words, len(known)))
        upstream = record.get("upstream_ms")
        occurrences.append(
            (
                at,
                record["request_id"],
                None if record["trace_id"] == record["request_id"] else record["trace_id"],
                record["path"],
                record.get("query"),
                record["status"],
                record["bytes_in"],
                record["bytes_out"],
                round(record["duration_ms"] * 1000),
                None if upstream is None else round(upstream * 1000),
            )
        )
    source = orjson.Fragment(orjson.dumps([node, chain]))
    return encode(source, first["sequence"], [orjson.Fragment(text) for text in known], which, occurrences)


def event_id(milliseconds: int, chain: str, sequence: int) -> str:
    """UUIDv7: milliseconds, 42 random bits of the chain's own id, then the sequence (32 bits)."""
    stamp = f"{milliseconds:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-{chain[14:28]}{sequence & 0xFFFFFFFF:08x}"


def time_text(at: int) -> str:
    """UTC with microseconds and Z, of microseconds since the epoch."""
    second, fraction = divmod(at, 1_000_000)
    return f"{_second_text(second)}.{fraction:06d}Z"


@lru_cache(maxsize=64)
def _second_text(second: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))


def _microseconds(text: str) -> int:
    """What `time_text` was made of. Raises ValueError for any other text."""
    at = (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
    if time_text(at) != text:
        raise ValueError("not a time of ours")
    return at
