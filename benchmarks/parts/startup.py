"""Start-up time and memory with 100,000 keys and grants, beside an installation that has one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.gateway import Installation
from benchmarks.outcome import Figure, Outcome
from benchmarks.parts.part import Part, Run
from benchmarks.rows import secret_of
from benchmarks.servers import Server, ServerFailed, fetch, free_port, wait_until
from benchmarks.upstream import BODY, upstream

COUNT, QUICK_COUNT = 100_000, 5_000
PATH = "/orders/7"
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Start:
    """Seconds from the process's start to each answer, and the memory after them."""

    healthy_seconds: float
    key_works_seconds: float
    resident_bytes: int


def measure(run: Run) -> Outcome:
    count = QUICK_COUNT if run.quick else COUNT
    folder = run.folder("startup")
    upstream_port = free_port()
    with upstream(folder, upstream_port):
        small = Installation(run.folder("startup/small"))
        small.set_up(run.api_key, upstream_port)
        run.say("starting with 1 key")
        few = _start(small, run.api_key)
        large = Installation(run.folder("startup/large"))
        large.set_up(run.api_key, upstream_port)
        run.say(f"writing {count:,} principals, keys and grants")
        large.write_rows("fill", count, run.api_key)
        run.say(f"starting with {count:,} keys")
        many = _start(large, secret_of(run.api_key, count - 1))
    return _report(count, few, many)


def _start(installation: Installation, api_key: str) -> Start:
    port = free_port()
    key = {"X-API-Key": api_key}
    launch = installation.serve(port, "data")
    began = time.monotonic()
    with Server(launch, None, ready=lambda: fetch(port, "/healthz")[0] == 200) as server:
        healthy = time.monotonic() - began
        wait_until(lambda: fetch(port, PATH, key) == (200, BODY), 60, "the key to work")
        works = time.monotonic() - began
        if fetch(port, PATH, {"X-API-Key": api_key + "x"})[0] != 401:
            raise ServerFailed("a wrong key was not refused")
        return Start(healthy, works, server.resident_bytes())


def _report(count: int, few: Start, many: Start) -> Outcome:
    added = many.resident_bytes - few.resident_bytes
    return Outcome(
        title=PART.title,
        parameters=[
            f"{count:,} service accounts with one key and one grant each, in SQLite, over 100 assets, "
            "`--role data --workers 1`, not pinned.",
            "From the start of the process to the first 200 of /healthz, and to the first proxied 200 for "
            "the key and grant written last. Memory is the resident size of the process tree after that.",
        ],
        columns=["keys", "/healthz s", "key works s", "memory MB"],
        rows=[_row("1", few), _row(f"{count:,}", many)],
        figures=[
            Figure("Start until a key works", many.key_works_seconds, "s"),
            Figure("Memory in all", many.resident_bytes / MEGABYTE, "MB", digits=0),
            Figure("Memory a key with its grant and principal", added / count, "bytes", digits=0),
        ],
    )


def _row(name: str, start: Start) -> list[str]:
    times = [f"{start.healthy_seconds:.2f}", f"{start.key_works_seconds:.2f}"]
    return [name, *times, f"{start.resident_bytes / MEGABYTE:.0f}"]


PART = Part(name="startup", title="Start-up with 100,000 keys and grants", measure=measure)
