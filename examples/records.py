"""Keep the records of one small service in memory: bounded, ordered by id, lost when the process ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from examples.errors import NotFound, StoreFull
from examples.fields import Fields

CAPACITY = 10_000


class Record(Protocol):
    """What a store keeps: a frozen value with an id."""

    @property
    def id(self) -> int: ...

    def to_json(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=Record)


class RecordStore(Generic[R]):
    """Records by id. An id is never used twice, so that a stale link cannot reach another record."""

    def __init__(self, noun: str, seed: Iterable[R], capacity: int = CAPACITY) -> None:
        self._noun = noun
        self._capacity = capacity
        self._records = {record.id: record for record in seed}
        self._next_id = max(self._records, default=0) + 1

    def add(self, make: Callable[[int], R]) -> R:
        """Store what `make` returns for the next free id. Raises StoreFull."""
        if len(self._records) >= self._capacity:
            raise StoreFull()
        record = make(self._next_id)
        self._next_id += 1
        self._records[record.id] = record
        return record

    def get(self, identifier: str) -> R:
        """Return the record of this id, as it stands in a path. Raises NotFound."""
        # isdecimal alone would let other scripts' digits name a record too.
        number = (
            int(identifier) if identifier.isascii() and identifier.isdecimal() and len(identifier) < 19 else 0
        )
        record = self._records.get(number)
        if record is None:
            raise NotFound(f"There is no {self._noun} {identifier!r}.")
        return record

    def replace(self, record: R) -> R:
        """Put a changed record in the place of the one with its id."""
        self._records[record.id] = record
        return record

    def remove(self, record: R) -> None:
        del self._records[record.id]

    def matching(self, wanted: Callable[[R], bool] = lambda record: True) -> list[R]:
        """Return the records that are wanted, in order of id."""
        return [record for record in self._records.values() if wanted(record)]


class Page:
    """The `limit` and `offset` of a listing, and the JSON it becomes."""

    NAMES = ("limit", "offset")

    def __init__(self, query: Fields) -> None:
        self.limit = query.integer("limit", 50, 1, 100)
        self.offset = query.integer("offset", 0, 0, CAPACITY)

    def to_json(self, records: list[R]) -> dict[str, Any]:
        chosen = records[self.offset : self.offset + self.limit]
        return {"items": [record.to_json() for record in chosen], "total": len(records)}
