"""Show outcomes on the terminal, keep them between runs, and write RESULTS.md from all that are kept."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.outcome import Figure, Outcome

RESULTS = Path(__file__).with_name("RESULTS.md")
VERDICT_STYLES = {None: "dim", True: "green", False: "bold red"}


def show(console: Console, outcome: Outcome) -> None:
    console.rule(outcome.title)
    if outcome.rows:
        table = Table(*outcome.columns)
        for row in outcome.rows:
            table.add_row(*row)
        console.print(table)
    if outcome.figures:
        table = Table("figure", "measured", "wanted", "verdict")
        for figure in outcome.figures:
            verdict = f"[{VERDICT_STYLES[figure.met]}]{figure.verdict}"
            table.add_row(figure.name, figure.shown, figure.wanted, verdict)
        console.print(table)
    for problem in outcome.problems:
        console.print(f"[bold red]refused[/] {problem}", highlight=False)


def keep(directory: Path, part: str, machine: dict[str, str], outcome: Outcome) -> None:
    """Store one part's outcome, so that a run of other parts doesn't lose it."""
    directory.mkdir(parents=True, exist_ok=True)
    kept = {"machine": machine, "outcome": outcome.as_json()}
    (directory / f"{part}.json").write_text(json.dumps(kept, indent=1))


def write(directory: Path, parts: list[str], machine: dict[str, str]) -> list[str]:
    """Write RESULTS.md from the parts kept for this machine; returns the names that are missing."""
    sections, missing = [], []
    for part in parts:
        outcome = _kept(directory / f"{part}.json", machine)
        if outcome is None:
            missing.append(part)
            continue
        sections.append(_section(outcome))
    RESULTS.write_text("\n\n".join([_head(machine), *sections]) + "\n")
    return missing


def _kept(path: Path, machine: dict[str, str]) -> Outcome | None:
    if not path.exists():
        return None
    kept = json.loads(path.read_text())
    return Outcome.from_json(kept["outcome"]) if kept["machine"] == machine else None


def _head(machine: dict[str, str]) -> str:
    rows = [[name, value] for name, value in machine.items()]
    return "\n\n".join(
        [
            "# Measured",
            "Written by `make bench`; absolute values belong to this machine, the ratios travel better.",
            _table(["machine", ""], rows),
        ]
    )


def _section(outcome: Outcome) -> str:
    blocks = [f"## {outcome.title}"]
    if outcome.figures:
        blocks.append(_table(["figure", "measured", "wanted", "verdict"], map(_figure_row, outcome.figures)))
    if outcome.rows:
        blocks.append(_table(outcome.columns, outcome.rows))
    for lines in (outcome.parameters, outcome.notes):
        if lines:
            blocks.append("\n".join(f"- {line}" for line in lines))
    if outcome.versions:
        blocks.append("Versions: " + "; ".join(f"{name} {v}" for name, v in outcome.versions.items()) + ".")
    if outcome.problems:
        blocks.append("Refused measurements:\n\n" + "\n".join(f"- {_one_line(p)}" for p in outcome.problems))
    return "\n\n".join(blocks)


def _figure_row(figure: Figure) -> list[str]:
    return [figure.name, figure.shown, figure.wanted, figure.verdict]


def _one_line(problem: str) -> str:
    """The first line only: what follows is a server's log, which names paths of the machine."""
    return problem.partition("\n")[0]


def _table(columns: list[str], rows: object) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]  # type: ignore[attr-defined]
    return "\n".join(lines)
