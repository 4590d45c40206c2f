"""Drive one server with wrk from the load core and read its totals. Judges nothing but its own output."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import LOAD_CORE, ServerFailed, pinned, tool

CONNECTIONS = 32
THREADS = 1
SCRIPT = Path(__file__).with_name("wrk_report.lua")


@dataclass(frozen=True)
class Load:
    """What wrk saw: counts, latencies in microseconds, and every kind of error by its own name."""

    requests: int
    duration_us: int
    bytes: int
    p50_us: int
    p99_us: int
    max_us: int
    connect: int
    read: int
    write: int
    status: int
    timeout: int
    wrong_bodies: int

    @property
    def requests_per_second(self) -> float:
        return self.requests / (self.duration_us / 1_000_000)

    @property
    def errors(self) -> dict[str, int]:
        kinds = ("connect", "read", "write", "status", "timeout", "wrong_bodies")
        return {kind: getattr(self, kind) for kind in kinds if getattr(self, kind)}


def wrk_command(
    port: int, path: str, seconds: float, headers: Mapping[str, str], expected: Path | None = None
) -> list[str]:
    """The pinned wrk command; with `expected`, every answer's body is compared with that file."""
    command = [tool("wrk"), f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    command += ["-s", str(SCRIPT), f"http://127.0.0.1:{port}{path}"]
    if expected is not None:
        command += ["--", str(expected)]
    return pinned(LOAD_CORE, command)


def drive(
    port: int, path: str, seconds: float, headers: Mapping[str, str], expected: Path | None = None
) -> Load:
    """Run wrk to its end. Raises ServerFailed when it can't run or reports nothing."""
    command = wrk_command(port, path, seconds, headers, expected)
    answer = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    for line in answer.stdout.splitlines():
        if line.startswith("REPORT "):
            return Load(**json.loads(line.removeprefix("REPORT ")))
    raise ServerFailed(f"wrk reported nothing:\n{answer.stdout}\n{answer.stderr}")
