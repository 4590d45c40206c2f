"""Bring stored records to the verifier, chain by chain: from the database, or from a file of lines."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import orjson

from auditlog.chain import SigningKey
from auditlog.models import AuditRecord
from auditlog.verification import (
    RETENTION_EVENTS,
    ChainVerifier,
    Expectations,
    Finding,
    StoredRecord,
    Summary,
    missing_chains,
    read_body,
)

# Columns whose change would mislead a reader; the rest of them is `body` itself.
CHECKED_COLUMNS = (
    "event",
    "node",
    "request_id",
    "principal",
    "route",
    "method",
    "path",
    "status",
    "decision",
    "client_ip",
)
_HASH_MEMBER = b',"hash":"'
_HASH_CHARACTERS = 64


def verify_database(
    keys: Sequence[SigningKey], summary: Summary, progress: Callable[[int], None]
) -> Iterator[Finding]:
    """Walk all chains in the database."""
    expectations = Expectations()
    telling = AuditRecord.objects.filter(event__in=("chains_anchored", *RETENTION_EVENTS))
    for body in telling.order_by("event_id").values_list("body", flat=True).iterator():
        expectations.learn(read_body(body))
    yield from _walk(_database_records(), keys, summary, expectations, progress)


def verify_file(
    path: Path, keys: Sequence[SigningKey], summary: Summary, progress: Callable[[int], None]
) -> Iterator[Finding]:
    """Walk the lines of a file sink or of an export. Holds all of the file in memory."""
    expectations, stored, last = Expectations(), [], dict[str, int]()
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entry = _from_line(line)
        except (ValueError, KeyError, TypeError):
            yield Finding("altered", "", None, "", f"line {number} is no audit record")
            continue
        stored.append(entry)
        expectations.learn(read_body(entry.body))
        if entry.sequence < last.get(entry.chain, -1) and entry not in stored[-2000:-1]:
            text = f"line {number} stands after a later record of its chain"
            yield Finding("reordered", entry.chain, entry.sequence, entry.event_id, text)
        last[entry.chain] = max(entry.sequence, last.get(entry.chain, -1))
    # A sink that can't look up may hold a record twice: the same record is no finding.
    stored.sort(key=lambda entry: (entry.chain, entry.sequence))
    once = (entry for index, entry in enumerate(stored) if index == 0 or entry != stored[index - 1])
    yield from _walk(once, keys, summary, expectations, progress)


def _walk(
    records: Iterable[StoredRecord],
    keys: Sequence[SigningKey],
    summary: Summary,
    expectations: Expectations,
    progress: Callable[[int], None],
) -> Iterator[Finding]:
    seen = set()
    for chain, members in groupby(records, key=lambda stored: stored.chain):
        seen.add(chain)
        verifier = ChainVerifier(chain, keys, summary, expectations)
        for stored in members:
            yield from verifier.check(stored)
            if summary.records % 1000 == 0:
                progress(summary.records)
        yield from verifier.finish()
    yield from missing_chains(expectations, seen)


def _database_records() -> Iterator[StoredRecord]:
    fields = ("chain", "sequence", "event_id", "body", "hash", *CHECKED_COLUMNS)
    rows = AuditRecord.objects.order_by("chain", "sequence").values_list(*fields)
    for chain, sequence, event_id, body, digest, *columns in rows.iterator(chunk_size=2000):
        yield StoredRecord(
            str(chain),
            sequence,
            str(event_id),
            body.encode(),
            bytes(digest),
            dict(zip(CHECKED_COLUMNS, columns, strict=True)),
        )


def _from_line(line: bytes) -> StoredRecord:
    """Undo sinks.sink.json_line. Raises ValueError, KeyError or TypeError."""
    position = len(line) - len(_HASH_MEMBER) - _HASH_CHARACTERS - 2
    if line[position : position + len(_HASH_MEMBER)] != _HASH_MEMBER:
        raise ValueError("no hash at its end")
    record = orjson.loads(line)
    body = line[:position] + b"}"
    chain, sequence, event_id = str(record["chain"]), int(record["sequence"]), str(record["event_id"])
    return StoredRecord(chain, sequence, event_id, body, bytes.fromhex(record["hash"]), {})
