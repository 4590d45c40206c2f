"""Say in lines of text what a plan changes."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.text import Text

from routing.configuration_file.changes import Action, Change
from routing.configuration_file.section import Plan

_SIGNS = {Action.CREATED: ("+", "green"), Action.UPDATED: ("~", "yellow"), Action.DELETED: ("-", "red")}


def render_changes(plan: Plan) -> Iterator[Text]:
    for change in plan.changes:
        yield from _render(change)


def summarize(plan: Plan) -> str:
    """Such as "2 created, 1 updated"; "no changes" for an empty plan."""
    counts = Counter(change.action for change in plan.changes)
    return ", ".join(f"{counts[action]} {action}" for action in Action if counts[action]) or "no changes"


def _render(change: Change) -> Iterator[Text]:
    sign, style = _SIGNS[change.action]
    yield Text(f"{sign} {change.kind} {change.name} {change.action}".replace("  ", " "), style=style)
    for key, old, new in change.fields:
        if change.action == Action.UPDATED:
            yield Text(f"    {key}: {_shown(old)} → {_shown(new)}")
        elif key not in ("name", "api_keys"):
            yield Text(f"    {key}: {_shown(new)}")


def _shown(value: Any) -> str:
    # JSON: quotes strings and escapes whatever a terminal would obey.
    return json.dumps(value, ensure_ascii=False, default=_as_text)


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
