"""What applying a file changes, in words and as rows to write. Touches no database itself."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from django.db.models import Model

from routing.configuration_file.shapes import Entry


class Action(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


class FieldChange(NamedTuple):
    key: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Change:
    """One object of the file. `kind` and `name` are in the words of the file."""

    action: Action
    kind: str
    name: str
    fields: tuple[FieldChange, ...] = ()


class Link(NamedTuple):
    """A row's many-to-many field, and the rows it shall lead to."""

    row: Model
    field: str
    targets: list[Model]


class Update(NamedTuple):
    row: Model
    columns: list[str]


@dataclass
class Operations:
    """Rows to write. Those of `created` may refer to each other before they have a key."""

    created: dict[type[Model], list[Any]] = field(default_factory=dict)
    updated: list[Update] = field(default_factory=list)
    linked: list[Link] = field(default_factory=list)
    # Parts of objects that stay (a target, a membership), and objects that go with --prune.
    removed: list[Model] = field(default_factory=list)
    pruned: list[Model] = field(default_factory=list)

    def create(self, row: Model) -> None:
        self.created.setdefault(type(row), []).append(row)


def differences(old: dict[str, Any] | None, new: Entry) -> tuple[FieldChange, ...]:
    """The keys whose values differ; of a new object those that the file gives."""
    if old is None:
        return tuple(FieldChange(key, None, new[key]) for key in new if new.gave(key))
    return tuple(FieldChange(key, old[key], new[key]) for key in old if old[key] != new[key])
