"""Requests/s, latency and memory of each gateway alone on one core, in interleaved rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from benchmarks.contestants import CONTESTANTS
from benchmarks.contestants.contestant import Bout, Contestant
from benchmarks.load import CONNECTIONS, THREADS, Load, drive
from benchmarks.outcome import Figure, Outcome
from benchmarks.parts.part import Part, Run
from benchmarks.servers import (
    GATEWAY_CORE,
    LOAD_CORE,
    Server,
    ServerFailed,
    ToolMissing,
    fetch,
    free_port,
)
from benchmarks.upstream import BODY, BODY_SIZE_BYTES, upstream

PATH = "/orders/7"
REFERENCE, SUBJECT = "nginx", "gatehouse"
WANTED_RATIOS = {"nginx": 0.25, "envoy": 1.0, "fastapi+httpx": 25.0}
DISTURBED = 0.1
MEGABYTE = 1024 * 1024


class BoutRefused(RuntimeError):
    """A round whose answers were not all 200 with the right body: its figures mean nothing."""


@dataclass(frozen=True)
class Score:
    """One contestant's figures in one round."""

    load: Load
    resident_bytes: int
    gateway_busy: float
    load_core_busy: float
    taken: float  # of the gateway's core, by other programs and the hypervisor

    @property
    def requests_per_second(self) -> float:
        return self.load.requests_per_second

    @property
    def requests_per_cpu_second(self) -> float:
        return self.requests_per_second / self.gateway_busy


@dataclass
class Series:
    """A contestant's scores by round; a refused round is missing."""

    contestant: Contestant
    scores: dict[int, Score] = field(default_factory=dict)

    def middle(self, reading: Callable[[Score], float]) -> float:
        return median(reading(score) for score in self.scores.values())

    def ratio_to(self, other: Series) -> float | None:
        """The median of the ratios round by round: what slows a whole round down cancels out."""
        shared = self.scores.keys() & other.scores.keys()
        if not shared:
            return None
        return median(
            self.scores[turn].requests_per_second / other.scores[turn].requests_per_second for turn in shared
        )


def measure(run: Run) -> Outcome:
    chosen = [c for c in CONTESTANTS if not run.only or c.name in run.only]
    series = {contestant.name: Series(contestant) for contestant in chosen}
    outcome = Outcome(title=PART.title, parameters=_parameters(run))
    body = run.folder("comparison") / "body.json"
    body.write_bytes(BODY)
    upstream_port = free_port()
    with upstream(run.folder("comparison"), upstream_port):
        for turn in range(run.rounds):
            for contestant in chosen:
                run.say(f"round {turn + 1} of {run.rounds}: {contestant.name}")
                try:
                    score = _bout(run, contestant, upstream_port, body)
                except (BoutRefused, ServerFailed, ToolMissing) as reason:
                    outcome.problems.append(f"{contestant.name}, round {turn + 1}: {reason}")
                    continue
                series[contestant.name].scores[turn] = score
    _report(outcome, series)
    return outcome


def _bout(run: Run, contestant: Contestant, upstream_port: int, body: Path) -> Score:
    folder = run.folder(f"comparison/{contestant.name.replace(' ', '-')}")
    port = free_port()
    key = {"X-API-Key": run.api_key}
    log = folder / contestant.access_log if contestant.access_log else None
    if log is not None:
        log.unlink(missing_ok=True)
    launch = contestant.launch(Bout(folder, port, upstream_port, run.api_key))
    with Server(launch, GATEWAY_CORE, ready=lambda: fetch(port, PATH, key) == (200, BODY)) as server:
        if contestant.refuses_strangers and fetch(port, PATH)[0] not in (401, 403):
            raise BoutRefused("a request without a key was not refused")
        # The warm-up compares every body; the measured seconds count statuses, errors and bytes.
        checked = drive(port, PATH, min(2.0, run.seconds), key, expected=body)
        _refuse_errors(checked)
        busy_before, cores_before = server.cpu_seconds(), psutil.cpu_times(percpu=True)
        load = drive(port, PATH, run.seconds, key)
        gateway_seconds = server.cpu_seconds() - busy_before
        cores_after = psutil.cpu_times(percpu=True)
        resident = server.resident_bytes()
    _refuse_errors(load)
    _refuse_other_sizes(checked, load)
    if log is not None:
        _refuse_missing_lines(log, checked.requests + load.requests)
    if contestant.audit_records is not None:
        _refuse_missing_records(contestant.audit_records(folder), checked.requests + load.requests)
    measured_seconds = load.duration_us / 1_000_000
    load_core_idle = cores_after[LOAD_CORE].idle - cores_before[LOAD_CORE].idle
    gateway_core_idle = cores_after[GATEWAY_CORE].idle - cores_before[GATEWAY_CORE].idle
    return Score(
        load=load,
        resident_bytes=resident,
        gateway_busy=gateway_seconds / measured_seconds,
        load_core_busy=max(0.0, 1 - load_core_idle / measured_seconds),
        taken=max(0.0, 1 - (gateway_core_idle + gateway_seconds) / measured_seconds),
    )


def _refuse_errors(load: Load) -> None:
    if load.errors:
        raise BoutRefused(f"{load.errors} in {load.requests} requests")
    if not load.requests:
        raise BoutRefused("no request was answered")


def _refuse_other_sizes(checked: Load, load: Load) -> None:
    """wrk counts 4xx and 5xx itself; a 2xx of another length shows in the bytes, up to what was in flight."""
    size = checked.bytes / checked.requests
    if abs(load.bytes - load.requests * size) > CONNECTIONS * size + 0.002 * load.bytes:
        raise BoutRefused(f"{load.bytes / load.requests:.0f} bytes an answer, {size:.0f} were expected")


def _refuse_missing_lines(log: Path, requests: int) -> None:
    """A gateway that drops lines of its log under load would be measured at less than its work."""
    with log.open("rb") as lines:
        logged = sum(PATH.encode() in line for line in lines)
    if logged < requests:
        raise BoutRefused(f"{logged} lines in the access log for {requests} requests")


def _refuse_missing_records(recorded: int, requests: int) -> None:
    if recorded < requests:
        raise BoutRefused(f"{recorded} audit records for {requests} requests")


def _report(outcome: Outcome, series: dict[str, Series]) -> None:
    outcome.columns = ["gateway", "requests/s", f"of {REFERENCE}", "p50 ms", "p99 ms", "memory MB"]
    outcome.columns += ["per CPU second", "gateway core", "load core", "taken", "rounds"]
    reference = series.get(REFERENCE)
    for name, one in series.items():
        outcome.versions[name] = _version(one.contestant)
        outcome.notes.append(f"{name}: {one.contestant.does}.")
        if not one.scores:
            outcome.rows.append([name, "not measured", *["–"] * 9])
            continue
        ratio = one.ratio_to(reference) if reference else None
        outcome.rows.append(
            [
                name,
                f"{one.middle(lambda score: score.requests_per_second):,.0f}",
                "–" if ratio is None else f"{ratio:.3f}",
                f"{one.middle(lambda score: score.load.p50_us) / 1000:.2f}",
                f"{one.middle(lambda score: score.load.p99_us) / 1000:.2f}",
                f"{one.middle(lambda score: score.resident_bytes) / MEGABYTE:.0f}",
                f"{one.middle(lambda score: score.requests_per_cpu_second):,.0f}",
                f"{one.middle(lambda score: score.gateway_busy):.0%}",
                f"{one.middle(lambda score: score.load_core_busy):.0%}",
                f"{one.middle(lambda score: score.taken):.0%}",
                str(len(one.scores)),
            ]
        )
    _note_disturbance(outcome, series)
    subject = series.get(SUBJECT)
    for name, wanted in WANTED_RATIOS.items():
        ratio = subject.ratio_to(series[name]) if subject and name in series else None
        digits = 1 if wanted > 2 else 3
        outcome.figures.append(
            Figure(f"Requests/s, {SUBJECT} to {name}", ratio, "times", at_least=wanted, digits=digits)
        )


def _note_disturbance(outcome: Outcome, series: dict[str, Series]) -> None:
    """Own up to a machine that wasn't ours alone: the figures of such rounds are too low, unevenly."""
    scores = [score for one in series.values() for score in one.scores.values()]
    disturbed = sum(score.taken > DISTURBED for score in scores)
    if disturbed:
        outcome.notes.append(
            f"In {disturbed} of {len(scores)} measurements other work took more than {DISTURBED:.0%} of the "
            "gateway's core."
        )


def _version(contestant: Contestant) -> str:
    try:
        return contestant.version()
    except ToolMissing as reason:
        return str(reason)


def _parameters(run: Run) -> list[str]:
    return [
        f"Each gateway alone on core {GATEWAY_CORE}, started anew for each round; the upstream "
        f"(nginx, {BODY_SIZE_BYTES} bytes of JSON, keep-alive) and wrk share core {LOAD_CORE}.",
        f"wrk: {THREADS} thread, {CONNECTIONS} keep-alive connections, {run.seconds:g} s a round after a "
        f"warm-up of {min(2.0, run.seconds):g} s; {run.rounds} interleaved rounds; medians. The ratio is the "
        "median of the ratios round by round.",
        "In the warm-up each answer is compared with the expected status and body. In the measured seconds "
        "statuses, socket errors and the bytes received are counted; a round with any error, or with fewer "
        "lines in the access log or records in the audit spool than requests, is refused.",
        "Memory is the resident size of the whole process tree after the load, shared pages counted in each. "
        "Per CPU second: requests by the processor time of the gateway, which tells its cost also where the "
        "load core was the limit. Taken: the share of the gateway's core that other programs and the hypervisor had.",
    ]


PART = Part(
    name="comparison",
    title="Side by side: one core, 1 KB JSON, 32 connections",
    measure=measure,
)
