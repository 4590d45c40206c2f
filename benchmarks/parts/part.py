"""What a part is: a name to choose it by, the work, and the settings of a run."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.outcome import Outcome


def new_api_key() -> str:
    return f"bench-{secrets.token_urlsafe(24)}"


@dataclass(frozen=True)
class Run:
    """How long and how often to measure, a directory to work in, and where to tell how far it is.

    `say` shows what is being done now; `tell` leaves a line that stays.
    """

    seconds: float
    rounds: int
    quick: bool
    directory: Path
    say: Callable[[str], None]
    tell: Callable[[str], None]
    only: frozenset[str] = frozenset()
    accept_disturbed: bool = False
    api_key: str = field(default_factory=new_api_key)

    def folder(self, name: str) -> Path:
        made = self.directory / name
        made.mkdir(parents=True, exist_ok=True)
        return made


@dataclass(frozen=True)
class Part:
    """One thing that is measured. `measure` returns an Outcome or raises ServerFailed or ToolMissing."""

    name: str
    title: str
    measure: Callable[[Run], Outcome]
