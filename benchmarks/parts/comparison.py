"""Requests/s, latency and memory of each gateway alone on one core, in interleaved rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.bout import WARM_UP_SECONDS, BoutRefused, Score, fight
from benchmarks.contestants import CONTESTANTS
from benchmarks.contestants.contestant import Bout, Contestant
from benchmarks.cores import wait_for_quiet
from benchmarks.load import CONNECTIONS, THREADS
from benchmarks.outcome import Figure, Outcome
from benchmarks.parts.part import Part, Run
from benchmarks.servers import GATEWAY_CORE, LOAD_CORE, Server, ServerFailed, ToolMissing, free_port
from benchmarks.upstream import BODY, BODY_SIZE_BYTES, upstream

REFERENCE, SUBJECT = "nginx", "gatehouse"
WANTED_RATIOS = {"nginx": 0.25, "envoy": 1.0, "fastapi+httpx": 25.0}
MEGABYTE = 1024 * 1024
DISTURBED_SHARE = 0.1
ATTEMPTS = 3
QUIET_DEADLINE_SECONDS = 20.0


@dataclass
class Series:
    """A contestant's scores by round; a refused round is missing."""

    contestant: Contestant
    scores: dict[int, Score] = field(default_factory=dict)

    def middle(self, reading: Callable[[Score], float]) -> float:
        return median(reading(score) for score in self.scores.values())

    def ratio_to(self, other: Series, reading: Callable[[Score], float]) -> float | None:
        """The median of the ratios round by round: what slows a whole round down cancels out."""
        shared = self.scores.keys() & other.scores.keys()
        if not shared:
            return None
        return median(reading(self.scores[turn]) / reading(other.scores[turn]) for turn in shared)


def _rate(score: Score) -> float:
    return score.requests_per_second


def _rate_per_cpu_second(score: Score) -> float:
    return score.requests_per_cpu_second


def measure(run: Run) -> Outcome:
    chosen = [c for c in CONTESTANTS if not run.only or c.name in run.only]
    series = {contestant.name: Series(contestant) for contestant in chosen}
    outcome = Outcome(title=PART.title, parameters=_parameters(run))
    body = run.folder("comparison") / "body.json"
    body.write_bytes(BODY)
    upstream_port = free_port()
    with upstream(run.folder("comparison"), upstream_port) as service:
        for turn in range(run.rounds):
            for contestant in chosen:
                run.say(f"round {turn + 1} of {run.rounds}: {contestant.name}")
                try:
                    score = _quiet_bout(run, contestant, service, upstream_port, body)
                except (BoutRefused, ServerFailed, ToolMissing) as reason:
                    outcome.problems.append(f"{contestant.name}, round {turn + 1}: {reason}")
                    run.tell(outcome.problems[-1].partition("\n")[0])
                    continue
                run.tell(_line(turn, contestant, score))
                series[contestant.name].scores[turn] = score
    _report(outcome, series, run.accept_disturbed)
    return outcome


def _quiet_bout(run: Run, contestant: Contestant, service: Server, upstream_port: int, body: Path) -> Score:
    """Repeat a bout that other work on the machine disturbed; after some attempts it is refused."""
    folder = run.folder(f"comparison/{contestant.name.replace(' ', '-')}")
    for attempt in range(ATTEMPTS):
        if not run.accept_disturbed:
            wait_for_quiet(QUIET_DEADLINE_SECONDS)
        if attempt:
            run.say(f"{contestant.name}: once more, other work disturbed it")
        bout = Bout(folder, free_port(), upstream_port, run.api_key)
        score = fight(contestant, bout, service, body, run.seconds)
        if run.accept_disturbed or score.taken <= DISTURBED_SHARE:
            return score
    raise BoutRefused(f"{ATTEMPTS} times other work took more than {DISTURBED_SHARE:.0%} of a core")


def _line(turn: int, contestant: Contestant, score: Score) -> str:
    return (
        f"round {turn + 1}: {contestant.name:14} {score.requests_per_second:>9,.0f} requests/s  "
        f"{score.requests_per_cpu_second:>9,.0f} per CPU second  p99 {score.load.p99_us / 1000:.2f} ms  "
        f"taken {score.taken:.0%}"
    )


def _report(outcome: Outcome, series: dict[str, Series], accept_disturbed: bool) -> None:
    outcome.columns = ["gateway", "requests/s", f"of {REFERENCE}", "p50 ms", "p99 ms", "memory MB"]
    outcome.columns += ["per CPU second", "gateway core", "load core", "taken", "rounds"]
    reference, subject = series.get(REFERENCE), series.get(SUBJECT)
    for name, one in series.items():
        outcome.versions[name] = _version(one.contestant)
        outcome.notes.append(f"{name}: {one.contestant.does}.")
        outcome.rows.append(_row(one, reference))
    for title, reading in (("Requests/s", _rate), ("Requests per CPU second", _rate_per_cpu_second)):
        for name, wanted in WANTED_RATIOS.items():
            ratio = subject.ratio_to(series[name], reading) if subject and name in series else None
            figure = Figure(
                f"{title}, {SUBJECT} to {name}",
                ratio,
                "times",
                # Only undisturbed rounds, and only the rate a client sees, are judged.
                at_least=None if accept_disturbed or reading is not _rate else wanted,
                digits=1 if wanted > 2 else 3,
            )
            outcome.figures.append(figure)
    if accept_disturbed:
        outcome.problems.append("rounds that other work disturbed were accepted: the ratios prove nothing")


def _row(one: Series, reference: Series | None) -> list[str]:
    name = one.contestant.name
    if not one.scores:
        return [name, "not measured", *["–"] * 9]
    ratio = one.ratio_to(reference, _rate) if reference else None
    return [
        name,
        f"{one.middle(_rate):,.0f}",
        "–" if ratio is None else f"{ratio:.3f}",
        f"{one.middle(lambda score: score.load.p50_us) / 1000:.2f}",
        f"{one.middle(lambda score: score.load.p99_us) / 1000:.2f}",
        f"{one.middle(lambda score: score.resident_bytes) / MEGABYTE:.0f}",
        f"{one.middle(_rate_per_cpu_second):,.0f}",
        f"{one.middle(lambda score: score.gateway_busy):.0%}",
        f"{one.middle(lambda score: score.load_core_busy):.0%}",
        f"{one.middle(lambda score: score.taken):.0%}",
        str(len(one.scores)),
    ]


def _version(contestant: Contestant) -> str:
    try:
        return contestant.version()
    except ToolMissing as reason:
        return str(reason)


def _parameters(run: Run) -> list[str]:
    warm_up_seconds = min(WARM_UP_SECONDS, run.seconds)
    return [
        f"Each gateway alone on core {GATEWAY_CORE}, started anew for each round; the upstream "
        f"(nginx, {BODY_SIZE_BYTES} bytes of JSON, keep-alive) and wrk share core {LOAD_CORE}.",
        f"wrk: {THREADS} thread, {CONNECTIONS} keep-alive connections, {run.seconds:g} s a round after a "
        f"warm-up of {warm_up_seconds:g} s; {run.rounds} interleaved rounds; medians. The ratio is the "
        "median of the ratios round by round.",
        "In the warm-up each answer is compared with the expected status and body. In the measured seconds "
        "statuses, socket errors and the bytes received are counted; a round with any error, or with fewer "
        "lines in the access log or records in the audit spool than requests, is refused.",
        "Memory is the resident size of the whole process tree after the load, shared pages counted in each.",
        "Per CPU second: requests by the processor time of the gateway, which tells its cost also where the "
        "load core was the limit. Taken: the share of the more disturbed core that other programs and the "
        f"hypervisor had; above {DISTURBED_SHARE:.0%} a round is repeated, and refused after {ATTEMPTS} attempts.",
    ]


PART = Part(
    name="comparison",
    title="Side by side: one core, 1 KB JSON, 32 connections",
    measure=measure,
)
