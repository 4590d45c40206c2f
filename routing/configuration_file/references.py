"""Check that every name the file refers to exists, and that groups don't hold themselves."""

import difflib
from collections.abc import Collection, Iterator, Mapping

from routing.configuration_file.problems import Problem
from routing.configuration_file.shapes import Entry


def dangling(
    entry: Entry, key: str, kind: str, known: Collection[str], hints: bool = True
) -> Iterator[Problem]:
    """A Problem for each name under `key` that no `kind` has."""
    given = entry[key]
    for name in given if isinstance(given, list) else [given]:
        if name is None or name in known:
            continue
        near = difflib.get_close_matches(name, known, 1) if hints else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        yield entry.problem(key, f"no {kind} is named {name!r}{hint}")


def find_circle(members: Mapping[str, Collection[str]]) -> list[str]:
    """The names of one circle of groups, in order, or an empty list."""
    finished: set[str] = set()
    for start in members:
        trail: list[str] = []
        # Depth first with an explicit stack: groups may nest deeper than Python's recursion goes.
        stack: list[Iterator[str]] = []
        _descend(start, members, finished, trail, stack)
        while stack:
            member = next(stack[-1], None)
            if member is None:
                stack.pop()
                finished.add(trail.pop())
            elif member in trail:
                return trail[trail.index(member) :]
            else:
                _descend(member, members, finished, trail, stack)
    return []


def _descend(
    name: str,
    members: Mapping[str, Collection[str]],
    finished: set[str],
    trail: list[str],
    stack: list[Iterator[str]],
) -> None:
    if name in finished or name not in members:
        return
    trail.append(name)
    stack.append(iter(members[name]))
