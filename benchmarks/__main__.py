"""The command line: `python -m benchmarks [PART …]` measures, `python -m benchmarks profile` samples."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.contestants import CONTESTANTS
from benchmarks.gateway import ROOT
from benchmarks.outcome import Outcome
from benchmarks.parts import PARTS
from benchmarks.parts.part import Part, Run
from benchmarks.profiling import profile
from benchmarks.servers import ServerFailed, ToolMissing

KEPT = ROOT / "var" / "benchmarks"
# Short rounds and many: a slow spell of a shared machine then spoils one of them, not the median.
SECONDS, ROUNDS = 4.0, 7
QUICK_SECONDS, QUICK_ROUNDS = 2.0, 2


def main() -> int:
    chosen = _arguments()
    # As with Ctrl-C: the servers that were started are ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # In a file or a pipe there is no width to fit into.
    console = Console(width=None if sys.stdout.isatty() else 150)
    try:
        if "profile" in chosen.parts:
            profile(console, chosen.seconds or SECONDS, chosen.role, chosen.native, chosen.top)
            return 0
        return _measure(console, chosen)
    except (ServerFailed, ToolMissing) as reason:
        console.print(f"[bold red]failed[/] {reason}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130


def _arguments() -> argparse.Namespace:
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the gateway beside others and write benchmarks/RESULTS.md.",
        epilog="Parts: " + "; ".join(f"{part.name}: {part.title}" for part in PARTS) + ".",
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(names)} (default: all), or profile"
    )
    parser.add_argument("--seconds", type=float, help=f"of load a round (default {SECONDS:g})")
    parser.add_argument("--rounds", type=int, help=f"of the comparison (default {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="small and short; RESULTS.md is not written")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[contestant.name for contestant in CONTESTANTS],
        help="a contestant of the comparison (repeatable); RESULTS.md is not written",
    )
    parser.add_argument(
        "--disturbed",
        action="store_true",
        help="keep rounds of the comparison that other work on the machine disturbed (marked as a problem)",
    )
    sampling = parser.add_argument_group("profile")
    sampling.add_argument("--role", choices=["data", "all"], default="data", help="of the gateway sampled")
    sampling.add_argument("--native", action="store_true", help="show frames of compiled extensions too")
    sampling.add_argument("--top", type=int, default=25, help="rows to print (default 25)")
    chosen = parser.parse_args()
    unknown = set(chosen.parts) - {*names, "profile"}
    if unknown:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    if "profile" in chosen.parts and len(chosen.parts) > 1:
        parser.error("profile runs alone")
    return chosen


def _measure(console: Console, chosen: argparse.Namespace) -> int:
    described = machine.describe()
    parts = [part for part in PARTS if not chosen.parts or part.name in chosen.parts]
    outcomes: dict[str, Outcome] = {}
    for part in parts:
        outcomes[part.name] = _one(console, part, chosen)
        report.show(console, outcomes[part.name])
        if not chosen.quick and not chosen.only:
            report.keep(KEPT, part.name, described, outcomes[part.name])
            report.write(KEPT, [known.name for known in PARTS], described)
    if not chosen.quick and not chosen.only:
        console.print(f"Written: {report.RESULTS.relative_to(ROOT)}")
    return 1 if any(outcome.problems for outcome in outcomes.values()) else 0


def _one(console: Console, part: Part, chosen: argparse.Namespace) -> Outcome:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, transient=True) as progress,
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
    ):
        task = progress.add_task(part.name)
        run = Run(
            seconds=chosen.seconds or (QUICK_SECONDS if chosen.quick else SECONDS),
            rounds=chosen.rounds or (QUICK_ROUNDS if chosen.quick else ROUNDS),
            quick=chosen.quick,
            directory=Path(directory),
            say=lambda what: progress.update(task, description=f"{part.name}: {what}"),
            tell=lambda what: console.print(what, highlight=False),
            only=frozenset(chosen.only),
            accept_disturbed=chosen.disturbed,
        )
        try:
            return part.measure(run)
        except (ServerFailed, ToolMissing) as reason:
            return Outcome(title=part.title, problems=[str(reason)])


if __name__ == "__main__":
    sys.exit(main())
