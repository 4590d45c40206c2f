"""What it costs to find a request's route among 10 and among 10,000, and to compile that many."""

from __future__ import annotations

from statistics import median

from benchmarks.gateway import Installation
from benchmarks.outcome import Figure, Outcome
from benchmarks.parts.part import Part, Run

FEW, MANY = 10, 10_000
ROUNDS, QUICK_ROUNDS = 7, 3
WANTED_RATIO = 1.5
Costs = list[dict[str, float]]


def measure(run: Run) -> Outcome:
    installations = {}
    for count in (FEW, MANY):
        run.say(f"writing {count:,} routes")
        installations[count] = Installation(run.folder(f"matching/{count}"))
        installations[count].set_up(run.api_key, upstream_port=9)
        installations[count].write_rows("routes", count, run.api_key)
    rounds = QUICK_ROUNDS if run.quick else ROUNDS
    costs: dict[int, Costs] = {FEW: [], MANY: []}
    for turn in range(rounds):
        for count, installation in installations.items():
            run.say(f"round {turn + 1} of {rounds}: {count:,} routes")
            costs[count].append(installation.ask("benchmarks.matching_cost", "--count", str(count)))
    return _report(rounds, costs[FEW], costs[MANY])


def _report(rounds: int, few: Costs, many: Costs) -> Outcome:
    compiled = _middle(many, "compile_seconds")
    return Outcome(
        title=PART.title,
        parameters=[
            "`match_route` in process, over routes read from the database and compiled: plain prefixes, "
            "prefixes with a {name} at the end or in the middle, methods, one in five on a host of its own.",
            "2,000 different requests, each checked to win its own route, drawn evenly over all routes or over "
            f"200 busy ones; median of 25 passes; {rounds} interleaved rounds, a process each; medians.",
            "Evenly is the dearest case: a match then waits for memory that the processor's caches don't hold.",
        ],
        columns=["routes", "a match, even µs", "a match, busy µs", "read and compile, s"],
        rows=[_row(FEW, few), _row(MANY, many)],
        figures=[
            Figure("A match, 10,000 routes to 10", _ratio(few, many, "even"), "times", at_most=WANTED_RATIO),
            Figure("A match, 200 busy of 10,000 routes to 10", _ratio(few, many, "busy"), "times"),
            Figure("Read and compile 10,000 routes", compiled, "s"),
        ],
    )


def _ratio(few: Costs, many: Costs, load: str) -> float:
    return median(large[load] / small[load] for small, large in zip(few, many, strict=True))


def _middle(costs: Costs, name: str) -> float:
    return median(cost[name] for cost in costs)


def _row(count: int, costs: Costs) -> list[str]:
    times = [f"{_middle(costs, load) * 1e6:.2f}" for load in ("even", "busy")]
    return [f"{count:,}", *times, f"{_middle(costs, 'compile_seconds'):.3f}"]


PART = Part(name="matching", title="Matching among 10 and 10,000 routes", measure=measure)
