"""What a part of the measurement found: figures with the wanted values beside, tables, remarks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Figure:
    """One measured number, and the bound it is wanted within (None: reported only)."""

    name: str
    value: float | None
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    digits: int = 2

    @property
    def met(self) -> bool | None:
        """None when nothing is wanted; a figure that couldn't be measured is not met."""
        if self.at_least is None and self.at_most is None:
            return None
        if self.value is None:
            return False
        enough = self.at_least is None or self.value >= self.at_least
        return enough and (self.at_most is None or self.value <= self.at_most)

    @property
    def wanted(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g} {self.unit}".rstrip()
        if self.at_most is not None:
            return f"≤ {self.at_most:g} {self.unit}".rstrip()
        return "–"

    @property
    def shown(self) -> str:
        if self.value is None:
            return "not measured"
        return f"{self.value:,.{self.digits}f} {self.unit}".rstrip()

    @property
    def verdict(self) -> str:
        return {None: "–", True: "met", False: "not met"}[self.met]


@dataclass
class Outcome:
    """All that one part reports. `problems` are measurements refused: any makes the run fail."""

    title: str
    parameters: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        figures = [Figure(**figure) for figure in stored.pop("figures")]
        return cls(figures=figures, **stored)
