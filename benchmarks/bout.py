"""Measure one contestant once: start it alone on its core, load it, and refuse figures that mean nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants.contestant import Bout, Contestant
from benchmarks.cores import CoreReading, children_seconds
from benchmarks.load import CONNECTIONS, Load, drive
from benchmarks.servers import GATEWAY_CORE, LOAD_CORE, Server, fetch
from benchmarks.upstream import BODY

PATH = "/orders/7"
WARM_UP_SECONDS = 2.0


class BoutRefused(RuntimeError):
    """The answers were not all 200 with the right body, or the work behind them wasn't all done."""


@dataclass(frozen=True)
class Score:
    """One contestant's figures in one round. Shares are of one core's time."""

    load: Load
    resident_bytes: int
    gateway_busy: float
    load_core_busy: float
    gateway_core_taken: float
    load_core_taken: float

    @property
    def requests_per_second(self) -> float:
        return self.load.requests_per_second

    @property
    def requests_per_cpu_second(self) -> float:
        return self.requests_per_second / self.gateway_busy

    @property
    def taken(self) -> float:
        """The worse of both cores: a slow upstream slows whoever is measured."""
        return max(self.gateway_core_taken, self.load_core_taken)


def fight(contestant: Contestant, bout: Bout, upstream: Server, body: Path, seconds: float) -> Score:
    """Start the contestant, load it, stop it. Raises BoutRefused, ServerFailed or ToolMissing."""
    key = {"X-API-Key": bout.api_key}
    log = bout.directory / contestant.access_log if contestant.access_log else None
    if log is not None:
        log.unlink(missing_ok=True)
    launch = contestant.launch(bout)
    with Server(launch, GATEWAY_CORE, ready=lambda: fetch(bout.port, PATH, key) == (200, BODY)) as server:
        if contestant.refuses_strangers and fetch(bout.port, PATH)[0] not in (401, 403):
            raise BoutRefused("a request without a key was not refused")
        # The warm-up compares every body; the measured seconds count statuses, errors and bytes.
        checked = drive(bout.port, PATH, min(WARM_UP_SECONDS, seconds), key, expected=body)
        _refuse_errors(checked)
        score = _measure(server, upstream, bout.port, key, seconds)
    _refuse_errors(score.load)
    _refuse_other_sizes(checked, score.load)
    requests = checked.requests + score.load.requests
    if log is not None:
        _refuse_missing("lines in the access log", _lines(log), requests)
    if contestant.audit_records is not None:
        _refuse_missing("audit records", contestant.audit_records(bout.directory), requests)
    return score


def _measure(server: Server, upstream: Server, port: int, key: dict[str, str], seconds: float) -> Score:
    gateway_before, service_before = server.cpu_seconds(), upstream.cpu_seconds() + children_seconds()
    before = CoreReading.now()
    load = drive(port, PATH, seconds, key)
    after = CoreReading.now()
    gateway_seconds = server.cpu_seconds() - gateway_before
    service_seconds = upstream.cpu_seconds() + children_seconds() - service_before
    return Score(
        load=load,
        resident_bytes=server.resident_bytes(),
        gateway_busy=gateway_seconds / (load.duration_us / 1_000_000),
        load_core_busy=after.busy_since(before, LOAD_CORE),
        gateway_core_taken=after.taken_since(before, GATEWAY_CORE, gateway_seconds),
        load_core_taken=after.taken_since(before, LOAD_CORE, service_seconds),
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


def _refuse_missing(what: str, found: int, requests: int) -> None:
    """A gateway that drops log lines or records under load would be measured at less than its work."""
    if found < requests:
        raise BoutRefused(f"{found} {what} for {requests} requests")


def _lines(log: Path) -> int:
    with log.open("rb") as lines:
        return sum(PATH.encode() in line for line in lines)
