"""The in-memory store of the small services."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from examples.errors import NotFound, StoreFull
from examples.records import RecordStore


@dataclass(frozen=True)
class Note:
    id: int
    text: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id}


def test_full_store_takes_nothing_more_until_something_goes() -> None:
    store = RecordStore("note", [Note(1), Note(2)], capacity=2)
    with pytest.raises(StoreFull):
        store.add(Note)
    store.remove(store.get("1"))
    assert store.add(Note).id == 3


def test_id_of_a_removed_record_is_not_used_again() -> None:
    store = RecordStore("note", [Note(1)])
    store.remove(store.get("1"))
    assert store.add(Note).id == 2


def test_record_that_could_not_be_made_uses_no_id() -> None:
    store = RecordStore("note", [Note(1)])

    def fail(new_id: int) -> Note:
        raise ValueError(new_id)

    with pytest.raises(ValueError, match="2"):
        store.add(fail)
    assert store.add(Note).id == 2


def test_replaced_record_keeps_its_place() -> None:
    store = RecordStore("note", [Note(1), Note(2)])
    store.replace(replace(store.get("1"), text="new"))
    assert [(note.id, note.text) for note in store.matching()] == [(1, "new"), (2, "")]


@pytest.mark.parametrize(
    "identifier", ["", "0", "3", "+1", " 1", "1_0", "²", "١", pytest.param("1" * 5000, id="5000 digits")]
)
def test_what_is_no_id_of_a_record_is_not_found(identifier: str) -> None:
    with pytest.raises(NotFound):
        RecordStore("note", [Note(1), Note(10)]).get(identifier)
