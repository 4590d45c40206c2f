"""Take note of requests like others before them, until the turn of the loop ends and they become a block.

Most of what a record says has been said before: it is redacted, escaped and encoded once, and pointed
at from then on. Knows neither spool nor chain.
"""

import re
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

from orjson import Fragment

from auditlog.block import EVENT, Occurrence, is_plain
from auditlog.escaping import FIELD_LIMITS, is_plain_line
from auditlog.record import REMEMBERED_CHARACTERS, WORDS_REMEMBERED, RecordEncoder

_UUID = re.compile(r"[0-9a-f-]{32,36}").fullmatch
# A request like others before it: its key, what its words can be worked out of, what is new, and its query
# as it was sent. Without a trace id, the request id is one that the gateway made for both: nobody looks at it.
Repeating = tuple[Hashable, Any, Occurrence, bytes]


class Words:
    """The repeated part of records as JSON; `None` when it can't be used again as it is."""

    __slots__ = ("index", "text", "turn")

    def __init__(self, text: Fragment | None) -> None:
        self.text = text
        self.turn = -1  # the last one that points at it, and where it stands there
        self.index = 0


class Noted(NamedTuple):
    """A turn: positions of the requests that can't be part of its block, and the block (see auditlog.block)."""

    alone: list[int]
    words: list[Fragment]
    which: list[int]
    occurrences: list[Occurrence]


class RepeatingRecords:
    """Makes a turn of the loop one block. Used by the thread of the loop alone."""

    def __init__(self, encoder: RecordEncoder) -> None:
        self._encoder = encoder
        self._redaction = encoder.redaction
        self._remembered: dict[Hashable, Words] = {}
        # Different requests may have the same words once they are redacted: a block has each text once.
        self._by_text: dict[bytes, Words] = {}
        self._clean_paths: set[str] = set()
        self._turn = 0

    def note(self, repeated: Callable[[Any], dict[str, Any]], requests: Iterable[Repeating]) -> Noted:
        """Note the requests of one turn, but those whose words are not plain (long, strange, suspicious).

        What a request's key stands for is worked out once, by `repeated(subject)`. One loop over all: a
        request's note costs less than the calls to make it would.
        """
        remembered, clean_paths, turn = self._remembered, self._clean_paths, self._turn
        texts: list[Fragment] = []
        which: list[int] = []
        occurrences: list[Occurrence] = []
        alone: list[int] = []
        for key, subject, occurrence, query in requests:
            try:
                words = remembered.get(key)
                if words is None:
                    words = self._remember(key, repeated(subject))
                if words.text is None or (
                    occurrence[3] not in clean_paths and not self._is_clean_path(occurrence[3])
                ):
                    alone.append(len(which) + len(alone))
                    continue
                if occurrence[2] is not None or query:
                    occurrence = self._without_secrets(occurrence, query)
            except Exception:
                # A text that may not stand here; a fault shows again where the request is recorded alone.
                alone.append(len(which) + len(alone))
                continue
            if words.turn != turn:
                words.turn, words.index = turn, len(texts)
                texts.append(words.text)
            which.append(words.index)
            occurrences.append(occurrence)
        self._turn += 1
        # Not within a turn: words that were forgotten there would stand twice in its block.
        if len(remembered) > WORDS_REMEMBERED:
            remembered.clear()
            self._by_text.clear()
        return Noted(alone, texts, which, occurrences)

    def _without_secrets(self, occurrence: Occurrence, query: bytes) -> Occurrence:
        """With the redacted query. Raises ValueError when one of its texts is not plain."""
        at, request_id, trace_id, path, _, *rest = occurrence
        if trace_id is not None and not self._are_clean_ids(request_id, trace_id):
            raise ValueError("an id that can't be written as it is")
        redacted = None
        if query:
            redacted = self._redaction.query(query)
            if len(redacted) > FIELD_LIMITS["query"] or not is_plain(redacted):
                raise ValueError("a query that can't be written as it is")
        return (at, request_id, None if trace_id == request_id else trace_id, path, redacted, *rest)  # type: ignore[return-value]

    def _remember(self, key: Hashable, fields: dict[str, Any]) -> Words:
        opening = self._encoder.opening(EVENT, 0.0, 0)
        body = self._encoder.encode(EVENT, fields, 0.0, 0)
        text = b"{%b" % body[len(opening) :] if is_plain_line(body) else b""
        words = self._by_text.get(text)
        if words is None:
            words = self._by_text[text] = Words(Fragment(text) if text else None)
        self._remembered[key] = words
        return words

    def _is_clean_path(self, path: str) -> bool:
        """Whether a path can be written as it is; remembers those that can, as they repeat."""
        if len(path) > REMEMBERED_CHARACTERS or not is_plain(path) or self._redaction.needs_look(path):
            return False
        if len(self._clean_paths) >= WORDS_REMEMBERED:
            self._clean_paths.clear()
        self._clean_paths.add(path)
        return True

    def _are_clean_ids(self, *ids: str) -> bool:
        return all(_UUID(text) is not None or self._is_clean_id(text) for text in ids)

    def _is_clean_id(self, text: str) -> bool:
        return (
            len(text) <= FIELD_LIMITS["request_id"] and is_plain(text) and not self._redaction.may_hide(text)
        )


def fields_of(occurrence: Occurrence, query: bytes) -> dict[str, Any]:
    """What is new in a request, as the fields of a record of any kind."""
    _, request_id, trace_id, path, _, status, bytes_in, bytes_out, duration, upstream = occurrence
    fields: dict[str, Any] = {
        "request_id": request_id,
        "trace_id": request_id if trace_id is None else trace_id,
        "path": path,
        "status": status,
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "duration_ms": duration / 1000,
    }
    if query:
        fields["query"] = query
    if upstream is not None:
        fields["upstream_ms"] = upstream / 1000
    return fields
