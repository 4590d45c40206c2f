"""Compare one entry of the file with its row: what would change, what is wrong. Writes nothing.

Every new or changed row is validated by the models' own rules here, before anything is written.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model

from routing.configuration_file import rows
from routing.configuration_file.changes import Action, Change, FieldChange, Operations, Update, differences
from routing.configuration_file.current import Current
from routing.configuration_file.problems import Problem
from routing.configuration_file.references import dangling
from routing.configuration_file.shapes import Entry
from routing.configuration_file.version_1 import LEFT_ALONE

Columns = dict[str, Any]


@dataclass
class Plan:
    """Changes in the order of the file; `operations` writes them."""

    document: Entry
    changes: list[Change] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    operations: Operations = field(default_factory=Operations)

    def note(self, action: Action, kind: str, name: str, fields: tuple[FieldChange, ...] = ()) -> None:
        self.changes.append(Change(action, kind, name, fields))


class SectionPlanner:
    """What the planners of all sections share: the plan, the rows, the names that may be referred to."""

    def __init__(self, plan: Plan, current: Current, prune: bool) -> None:
        self.plan = plan
        self.current = current
        self.prune = prune
        self.document = plan.document

    def pruned(self, section: str) -> list[Any]:
        """Rows of a section that the file gives without naming them. A section not given loses none."""
        if not self.prune or not self.document.gave(section):
            return []
        named = {entry["name"] for entry in self.document[section]}
        stored = getattr(self.current, section)
        # An administrator's account isn't the file's to take away: its password is nowhere in it.
        return [
            row for name, row in stored.items() if name not in named and not getattr(row, "is_staff", False)
        ]

    def known(self, section: str) -> set[str]:
        """Names that exist once the file is applied."""
        gone = {row.name for row in self.pruned(section)}
        return (set(getattr(self.current, section)) - gone) | {
            entry["name"] for entry in self.document[section] if entry["name"]
        }

    def check_references(self, entry: Entry, key: str, kind: str, known: Collection[str]) -> None:
        # Looking for a similar name is slow among many: the first problems get that hint.
        hints = len(self.plan.problems) < 50
        self.plan.problems.extend(dangling(entry, key, kind, known, hints))

    def settle(
        self,
        model: type[Model],
        section: str,
        kind: str,
        entry: Entry,
        row: Any,
        stored: rows.Entries | None,
        columns: Callable[[Entry], Columns],
        label: str | None = None,
    ) -> tuple[Any, tuple[FieldChange, ...]]:
        """Return the row as the file wants it, and how it differs from the stored one."""
        leave_alone(section, entry, stored)
        changed = differences(stored, entry)
        if stored is not None and not changed:
            return row, ()
        name = label or entry["name"]
        self.plan.note(Action.CREATED if stored is None else Action.UPDATED, kind, name, changed)
        row, altered = _with_columns(model, row, columns(entry))
        self.validate(row, entry)
        if row.pk is None:
            self.plan.operations.create(row)
        elif altered:
            self.plan.operations.updated.append(Update(row, altered))
        return row, changed

    def validate(self, row: Any, entry: Entry, place: Callable[[str], str] | None = None) -> None:
        """The model's own rules, but for references and uniqueness: those need no query here.

        `place` gives the key path of a column's error, where it isn't the column's or KEY_OF_COLUMN's.
        """
        skipped = {column.name for column in row._meta.fields if column.is_relation}
        if entry.broken:
            # A key that was refused already is None here.
            skipped |= {c.name for c in row._meta.fields if not c.null and getattr(row, c.attname) is None}
        errors: dict[str, list[ValidationError]] = {}
        for check in (lambda: row.clean_fields(exclude=skipped), row.clean):
            try:
                check()
            except ValidationError as error:
                errors = error.update_error_dict(errors)
        keys = rows.KEY_OF_COLUMN.get(type(row), {})
        for column, problems in errors.items():
            message = " ".join(_worded(problem, row, column) for problem in problems)
            key = place(column) if place else keys.get(column, column)
            self.plan.problems.append(entry.problem("" if key == "__all__" else key, message))


def leave_alone(section: str, entry: Entry, stored: rows.Entries | None) -> None:
    """Take the stored value of keys that the file may leave out without resetting them."""
    for key in LEFT_ALONE[section]:
        if stored is not None and key in stored and not entry.gave(key):
            entry[key] = stored[key]


def _with_columns(model: type[Model], row: Any, columns: Columns) -> tuple[Any, list[str]]:
    if row is None or row.pk is None:
        return model(**columns), []
    altered = [name for name, value in columns.items() if getattr(row, name) != value]
    for name in altered:
        setattr(row, name, columns[name])
    return row, altered


def _worded(error: ValidationError, row: Any, column: str) -> str:
    words = " ".join(error.messages)
    if error.code != "invalid_choice":
        return words
    choices = ", ".join(str(value) for value, _ in row._meta.get_field(column).flatchoices)
    return f"{words} Choose from: {choices}."
