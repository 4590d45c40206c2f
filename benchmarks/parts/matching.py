"""What it costs to find a request's route among 10 and among 10,000, and to compile that many."""

from __future__ import annotations

from statistics import median

from benchmarks.gateway import Installation
from benchmarks.outcome import Figure, Outcome
from benchmarks.parts.part import Part, Run

FEW, MANY = 10, 10_000
ROUNDS, QUICK_ROUNDS = 7, 3
WANTED_RATIO = 1.5


def measure(run: Run) -> Outcome:
    installations = {}
    for count in (FEW, MANY):
        run.say(f"writing {count:,} routes")
        installations[count] = Installation(run.folder(f"matching/{count}"))
        installations[count].set_up(run.api_key, upstream_port=9)
        installations[count].write_rows("routes", count, run.api_key)
    rounds = QUICK_ROUNDS if run.quick else ROUNDS
    costs: dict[int, list[float]] = {FEW: [], MANY: []}
    compile_seconds: dict[int, list[float]] = {FEW: [], MANY: []}
    for turn in range(rounds):
        for count, installation in installations.items():
            run.say(f"round {turn + 1} of {rounds}: {count:,} routes")
            cost = installation.ask("benchmarks.matching_cost", "--count", str(count))
            costs[count].append(cost["seconds"])
            compile_seconds[count].append(cost["compile_seconds"])
    ratio = median(many / few for few, many in zip(costs[FEW], costs[MANY], strict=True))
    return Outcome(
        title=PART.title,
        parameters=[
            "`match_route` in process, over routes read from the database and compiled: plain prefixes, "
            "prefixes with a {name} at the end or in the middle, methods, one in five on a host of its own.",
            f"2,000 different requests drawn at random over all routes, each checked to win its own route; "
            f"median of 25 passes; {rounds} interleaved rounds, a process each; medians.",
        ],
        columns=["routes", "a match, µs", "read and compile, s"],
        rows=[
            [f"{count:,}", f"{median(costs[count]) * 1e6:.2f}", f"{median(compile_seconds[count]):.3f}"]
            for count in (FEW, MANY)
        ],
        figures=[
            Figure("Cost of a match, 10,000 routes to 10", ratio, "times", at_most=WANTED_RATIO),
            Figure("Read and compile 10,000 routes", median(compile_seconds[MANY]), "s"),
        ],
    )


PART = Part(name="matching", title="Matching among 10 and 10,000 routes", measure=measure)
