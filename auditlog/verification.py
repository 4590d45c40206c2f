"""Find what was removed, altered, reordered or inserted in a series of records. Pure.

Feed each chain's records in order of their sequence; findings name chain, sequence and event id.
What a clean result proves, and what it can't, is in docs/audit.md.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from auditlog.block import MOST_RECORDS, BlockInconsistent, collapse, is_as_expanded
from auditlog.chain import OPENED, START, SigningKey, link
from auditlog.rows import COLUMNS, columns_of
from auditlog.segment import Frame

_NO_COLUMN = object()
# What these say of other chains is believed, once it is signed.
TELLING_EVENTS = ("chains_anchored", "segment_adopted", "retention_started", "retention_applied")
RETENTION_EVENTS = ("retention_started", "retention_applied")


class Finding(NamedTuple):
    """Something wrong: `kind` is stable, `text` says it to a person."""

    kind: str
    chain: str
    sequence: int | None
    event_id: str
    text: str


class StoredRecord(NamedTuple):
    """A record as a sink keeps it. `columns` are its searchable copies, as rows.py makes them, if it has any."""

    chain: str
    sequence: int
    event_id: str
    body: bytes
    digest: bytes
    columns: Mapping[str, Any]


@dataclass
class Expectations:
    """What the log says of itself elsewhere: anchors of chain heads, and what retention removed."""

    # (chain, sequence) -> (hash, time) of records that the shipper had when it wrote an anchor
    anchors: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    # chain -> its last sequence, of chains whose process died
    ends: dict[str, int] = field(default_factory=dict)
    # chain -> (first sequence that is kept, hash of the last that was removed)
    begins: dict[str, tuple[int, str]] = field(default_factory=dict)
    retained_since: str = ""
    # A removal has begun and has not said that it is done: of what it was to remove some may be left.
    is_removing: bool = False
    # Files keep what the retention removes from the database; an export of it begins at the cut, too.
    may_hold_removed: bool = False
    _newest_retention: str = ""

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take note of an anchor, of a chain's end or of an application of the retention period.

        To be told only what `vouched_for` lets pass. One that is not whole is passed over.
        """
        try:
            if record.get("event") == "chains_anchored":
                for chain, (sequence, digest, time) in record["heads"].items():
                    self.anchors[chain, sequence] = (digest, time)
            elif record.get("event") == "segment_adopted" and "ends" in record:
                sequence, digest, time = record["ends"]
                self.anchors[record["chain_affected"], sequence] = (digest, time)
                self.ends[record["chain_affected"]] = sequence
            elif record.get("event") in RETENTION_EVENTS:
                # An event id begins with its time; chains are read one after the other.
                if record["event_id"] > self._newest_retention:
                    self._newest_retention = record["event_id"]
                    self.is_removing = record["event"] == "retention_started"
                self.retained_since = max(self.retained_since, record["before"])
                for chain, (sequence, digest) in record["begins"].items():
                    if sequence >= self.begins.get(chain, (0, ""))[0]:
                        self.begins[chain] = (sequence, digest)
        except (KeyError, TypeError, ValueError, AttributeError):
            return


@dataclass
class Summary:
    """What was looked at; `unsigned` records are linked, but no checkpoint covers them yet."""

    records: int = 0
    chains: int = 0
    checkpoints: int = 0
    unsigned: int = 0


class ChainVerifier:
    """Walks one chain."""

    def __init__(
        self, chain: str, keys: Sequence[SigningKey], summary: Summary, expectations: Expectations
    ) -> None:
        self._chain = chain
        self._keys = {key.key_id: key for key in keys}
        self._summary = summary
        self._anchors = {
            sequence: anchor
            for (anchored, sequence), anchor in expectations.anchors.items()
            if anchored == chain
        }
        self._end = expectations.ends.get(chain)
        self._closed_at: int | None = None
        self._retained_since = expectations.retained_since
        self._begin, digest = expectations.begins.get(chain, (0, ""))
        self._expected = self._begin
        self._head: bytes | None = bytes.fromhex(digest) if digest else START
        self._head_before_begin = self._head
        self._is_removing = expectations.is_removing
        if self._is_removing:
            # What is to go may all be there still.
            self._expected, self._head = 0, START
        self._may_hold_removed = expectations.may_hold_removed
        self._unsigned = 0
        self._block = _OpenBlock()
        summary.chains += 1

    def check(self, stored: StoredRecord) -> Iterator[Finding]:
        """Findings about the next record of the chain."""
        self._summary.records += 1
        record = read_body(stored.body)
        if self._may_hold_removed and stored.sequence < self._begin:
            self._begin, self._expected, self._head = 0, 0, START
        self._may_hold_removed = False
        if self._is_removing and stored.sequence > self._expected:
            self._pass_over_removed(stored.sequence, record)
        yield from self._check_columns(stored, record)
        if stored.sequence < self._expected:
            yield self._finding(
                "inserted", stored, f"there is another record with the number {stored.sequence}"
            )
            return
        place = _place_in_block(record)
        if stored.sequence > self._expected:
            self._block.parted = True
        if place is None or place != self._block.place:
            yield from self._end_block()
        yield from self._check_place(stored, record)
        if place is not None:
            yield from self._check_text(stored, record, place)
        elif "block" in record:
            yield self._finding("altered", stored, "it says a block that it can't be of")
        else:
            yield from self._check_hash(stored)
        yield from self._check_anchor(stored)
        yield from self._check_ends(stored, record)
        self._unsigned += 1
        if record.get("event") == "checkpoint":
            yield from self._check_signature(stored, record)
        self._expected = stored.sequence + 1
        self._head = stored.digest

    def finish(self) -> Iterator[Finding]:
        """No more of this chain: whatever an anchor saw beyond its end was cut off."""
        place = self._block.place
        if place is not None and self._expected < place.first + place.count:
            self._block.parted = True
            text = f"its block ends with number {place.first + place.count - 1}: what follows it is missing"
            yield self._finding("removed", self._block.members[-1][0], text)
        yield from self._end_block()
        if self._closed_at is not None and self._expected == self._closed_at + 1:
            text = "the checkpoint that signs the chain's end is missing"
            yield Finding("removed", self._chain, self._expected, "", text)
        self._summary.unsigned += self._unsigned
        for sequence, (_, time) in sorted(self._anchors.items()):
            if sequence >= self._expected and time >= self._retained_since:
                text = f"the chain ends before number {sequence}, which the shipper has seen"
                yield Finding("removed", self._chain, sequence, "", text)

    def _pass_over_removed(self, sequence: int, record: Mapping[str, Any]) -> None:
        """A gap in the old part, while that is being removed, is no finding."""
        is_old = str(record.get("time", "")) < self._retained_since
        goes_on_at = sequence if is_old else min(sequence, self._begin)
        if goes_on_at <= self._expected:
            return
        self._block.parted = True
        self._expected = goes_on_at
        self._head = self._head_before_begin if goes_on_at == self._begin else None

    def _check_place(self, stored: StoredRecord, record: dict[str, Any]) -> Iterator[Finding]:
        if stored.sequence > self._expected:
            missing = stored.sequence - self._expected
            which = f"{self._expected}" if missing == 1 else f"{self._expected} to {stored.sequence - 1}"
            text = f"{missing} record{'s are' if missing > 1 else ' is'} missing before it: number {which}"
            yield self._finding("removed", stored, text)
            self._head = None
        if (record.get("chain"), record.get("sequence")) != (stored.chain, stored.sequence):
            text = "it says another chain or number than the place it was found at"
            yield self._finding("reordered", stored, text)

    def _check_anchor(self, stored: StoredRecord) -> Iterator[Finding]:
        anchor = self._anchors.get(stored.sequence)
        if anchor is not None and anchor[0] != stored.digest.hex():
            yield self._finding("altered", stored, "it is not the record that the shipper has anchored")

    def _check_ends(self, stored: StoredRecord, record: dict[str, Any]) -> Iterator[Finding]:
        """A record can be linked to the end of a chain, or begin one, by anybody: neither has a signature."""
        event = record.get("event")
        if stored.sequence == 0:
            yield from self._check_opening(stored, record)
        if self._end is not None and stored.sequence > self._end:
            yield self._finding("inserted", stored, f"its process had ended with number {self._end}")
        elif self._closed_at is not None:
            if event != "checkpoint" or stored.sequence > self._closed_at + 1:
                yield self._finding("inserted", stored, f"its chain was closed with number {self._closed_at}")
        elif event == "chain_closed":
            self._closed_at = stored.sequence

    def _check_opening(self, stored: StoredRecord, record: dict[str, Any]) -> Iterator[Finding]:
        key = self._keys.get(str(record.get("key_id")))
        if record.get("event") != "chain_opened" or "signature" not in record:
            yield self._finding(
                "inserted", stored, "it begins a chain, but no process of ours has opened that"
            )
        elif key is None:
            yield self._finding("unknown_key", stored, "the chain was opened with a key that is not ours")
        elif key.sign(self._chain, 0, START, OPENED) != record["signature"]:
            yield self._finding("forged", stored, "the signature of the chain's opening is wrong")

    def _check_columns(self, stored: StoredRecord, record: dict[str, Any]) -> Iterator[Finding]:
        if stored.event_id != record.get("event_id"):
            yield self._finding("altered", stored, "its event id is not the one that was hashed")
        columns = _columns(stored, record) if stored.columns else {}
        changed = [name for name, value in stored.columns.items() if value != columns.get(name, _NO_COLUMN)]
        if changed:
            text = f"columns differ from the hashed record: {', '.join(changed)}"
            yield self._finding("altered", stored, text)

    def _check_hash(self, stored: StoredRecord) -> Iterator[Finding]:
        # After a gap the hash before is unknown: this record's own link can't be checked.
        if self._head is not None and link(self._head, stored.body) != stored.digest:
            yield self._finding("altered", stored, "its hash does not fit the record before it and its text")

    def _check_text(self, stored: StoredRecord, record: dict[str, Any], place: "_Place") -> Iterator[Finding]:
        """A record of several that have one hash: its own text now, the hash when all have been seen."""
        if self._block.place is None:
            self._block = _OpenBlock(place, self._head, parted=self._head is None)
        if not is_as_expanded(stored.body, record):
            yield self._finding("altered", stored, "its text is not the one that its checksum was made of")
            self._block.blamed = True
        self._block.members.append((stored, record))

    def _end_block(self) -> Iterator[Finding]:
        """The block at hand has no more records: is it as it was hashed?"""
        block, self._block = self._block, _OpenBlock()
        if block.place is None:
            return
        first, count = block.place
        digests = Counter(stored.digest for stored, _ in block.members)
        digest = digests.most_common(1)[0][0]
        complete = len(block.members) == count
        whole = False
        if block.head is not None and complete:
            computed = block.computed()
            whole = computed in digests
            digest = computed if whole and computed is not None else digest
        for stored, _ in block.members:
            if stored.digest != digest:
                block.blamed = True
                yield self._finding("altered", stored, "its hash is not the one of its block")
        self._head = digest
        # That records are missing was told already, or the retention period has removed them: then the
        # hash that it has noted as the last one removed is this block's own.
        is_cut = first < block.members[0][0].sequence == self._begin and block.head == digest
        known_gap = not complete and (block.parted or is_cut)
        if whole or block.blamed or known_gap or block.head is None:
            return
        text = "its hash does not fit the record before it and its text"
        if count > 1:
            text = f"numbers {first} to {first + count - 1} have one hash, which fits them no more"
        yield self._finding("altered", block.members[0][0], text)

    def _check_signature(self, stored: StoredRecord, record: dict[str, Any]) -> Iterator[Finding]:
        key = self._keys.get(str(record.get("key_id")))
        if key is None:
            yield self._finding("unknown_key", stored, "the checkpoint is signed with a key that is not ours")
            return
        if self._head is None:
            return
        if key.sign(self._chain, stored.sequence, self._head) != record.get("signature"):
            yield self._finding(
                "forged", stored, "the checkpoint's signature is wrong: the chain was rewritten"
            )
            return
        self._summary.checkpoints += 1
        self._unsigned = 0

    def _finding(self, kind: str, stored: StoredRecord, text: str) -> Finding:
        return Finding(kind, stored.chain, stored.sequence, stored.event_id, text)


class _Place(NamedTuple):
    """The block of a record: the sequence of its first record, and how many there are."""

    first: int
    count: int


@dataclass
class _OpenBlock:
    """A block of which records have been seen."""

    place: _Place | None = None
    head: bytes | None = None  # the hash before it
    members: list[tuple[StoredRecord, dict[str, Any]]] = field(default_factory=list)
    parted: bool = False  # records are missing right before, in or right behind it
    blamed: bool = False  # one of its records was named

    def computed(self) -> bytes | None:
        """The hash of these records; None when they make no block."""
        assert self.head is not None
        try:
            return link(self.head, collapse([record for _, record in self.members]))
        except BlockInconsistent:
            return None


def _place_in_block(record: Mapping[str, Any]) -> _Place | None:
    """None for a record that stood alone, and for one that says a block that it can't be of."""
    match record.get("block"), record.get("sequence"):
        case [int(first), int(count), str()], int(sequence):
            if 0 < count <= MOST_RECORDS and 0 <= first <= sequence < first + count:
                return _Place(first, count)
    return None


def vouched_for(chain: Iterable[StoredRecord], keys: Sequence[SigningKey]) -> Iterator[dict[str, Any]]:
    """What the records of one chain say of other chains, as far as a good checkpoint covers it.

    A record that doesn't follow from the one before it (a gap, a block) ends what the next checkpoint vouches
    for, at this end: the others are linked with the hash that was signed.
    """
    secrets = {key.key_id: key for key in keys}
    told: list[dict[str, Any]] = []
    head: bytes | None = None
    expected = 0
    for stored in chain:
        record = read_body(stored.body)
        previous = START if stored.sequence == 0 else head if stored.sequence == expected else None
        if previous is None or link(previous, stored.body) != stored.digest:
            told.clear()
        elif record.get("event") == "checkpoint":
            key = secrets.get(str(record.get("key_id")))
            if key is not None and key.sign(stored.chain, stored.sequence, previous) == record.get(
                "signature"
            ):
                yield from told
            told.clear()
        elif record.get("event") in TELLING_EVENTS:
            told.append(record)
        head, expected = stored.digest, stored.sequence + 1


def read_body(body: bytes | str) -> dict[str, Any]:
    """The record in a body; empty when it is none (any more)."""
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return record if isinstance(record, dict) else {}


def _columns(stored: StoredRecord, record: dict[str, Any]) -> dict[str, Any]:
    """The searchable columns that a sink makes of the hashed text; none when it is no record."""
    try:
        values = columns_of(Frame(stored.digest, stored.body, record))
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return dict(zip(COLUMNS, values, strict=True))


def missing_chains(expectations: Expectations, seen: set[str]) -> Iterator[Finding]:
    """Chains that an anchor knows and of which no record is left."""
    last = {chain: (sequence, time) for (chain, sequence), (_, time) in sorted(expectations.anchors.items())}
    for chain, (sequence, time) in last.items():
        if chain not in seen and time >= expectations.retained_since:
            text = f"the whole chain is missing, up to number {sequence}"
            yield Finding("removed", chain, sequence, "", text)
