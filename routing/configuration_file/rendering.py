"""Say in lines of text what a plan changes."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.color import ColorSystem
from rich.style import Style

from routing.configuration_file.changes import Action, Change
from routing.configuration_file.section import Plan

_SIGNS = {
    Action.CREATED: ("+", Style(color="green")),
    Action.UPDATED: ("~", Style(color="yellow")),
    Action.DELETED: ("-", Style(color="red")),
}


def render_changes(plan: Plan, coloured: bool) -> Iterator[str]:
    """One line of text for each change and each of its fields."""
    # Rendered by the style alone: a console that measures and wraps takes seconds for 10,000 rows.
    colours = ColorSystem.STANDARD if coloured else None
    for change in plan.changes:
        yield from _render(change, colours)


def summarize(plan: Plan) -> str:
    """Such as "2 created, 1 updated"; "no changes" for an empty plan."""
    counts = Counter(change.action for change in plan.changes)
    return ", ".join(f"{counts[action]} {action}" for action in Action if counts[action]) or "no changes"


def _render(change: Change, colours: ColorSystem | None) -> Iterator[str]:
    sign, style = _SIGNS[change.action]
    words = [sign, change.kind, change.name, change.action]
    yield style.render(" ".join(word for word in words if word), color_system=colours)
    for key, old, new in change.fields:
        if change.action == Action.UPDATED:
            yield f"    {key}: {_shown(old)} → {_shown(new)}"
        elif key not in ("name", "api_keys"):
            yield f"    {key}: {_shown(new)}"


def _shown(value: Any) -> str:
    # JSON: quotes strings and escapes whatever a terminal would obey.
    return json.dumps(value, ensure_ascii=False, default=_as_text)


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
