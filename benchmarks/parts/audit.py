"""What the audit log costs: a request, a record, shipping, and pages over a million rows in PostgreSQL."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.bout import PATH
from benchmarks.gateway import Installation
from benchmarks.load import drive
from benchmarks.outcome import Figure, Outcome
from benchmarks.parts.part import Part, Run
from benchmarks.servers import GATEWAY_CORE, Server, ServerFailed, fetch, free_port
from benchmarks.upstream import upstream

RECORDS, QUICK_RECORDS = 60_000, 10_000
ROWS, QUICK_ROWS, PART_ROWS = 1_000_000, 20_000, 200_000
ROUNDS, QUICK_ROUNDS = 5, 1
WANTED_ON_TO_OFF = 0.9
LOAD_SECONDS, QUICK_LOAD_SECONDS = 20.0, 4.0
WANTED_TO_POSTGRESQL, WANTED_TO_FILE, WANTED_PAGE_MS = 20_000, 50_000, 200


def measure(run: Run) -> Outcome:
    from tests.services.postgresql import PostgresqlServer

    rounds = QUICK_ROUNDS if run.quick else ROUNDS
    run.say("requests with the audit on and off")
    switched = [
        _switched(run, turn, QUICK_LOAD_SECONDS if run.quick else LOAD_SECONDS) for turn in range(rounds)
    ]
    records, rows = (QUICK_RECORDS, QUICK_ROWS) if run.quick else (RECORDS, ROWS)
    server = PostgresqlServer()
    try:
        run.say("timing a record")
        cost = [_ask(run, f"record/{turn}", "record", 20_000) for turn in range(rounds)]
        rates = {}
        for sink, database in (("file", ""), ("database", ""), ("database", server.new_database())):
            name = "PostgreSQL" if database else {"file": "file", "database": "SQLite"}[sink]
            run.say(f"shipping to {name}")
            rates[name] = [
                _ask(run, f"{name}/{turn}", "ship", records, sink, database) for turn in range(rounds)
            ]
        run.say(f"{rows:,} rows")
        database = server.new_database()
        # In parts: a process of the harness has two minutes.
        for first in range(0, rows, PART_ROWS):
            count = min(PART_ROWS, rows - first)
            span = ["--first", str(first), "--total", str(rows)]
            _ask(run, "pages", "fill", count, "database", database, span)
        pages = _ask(run, "pages", "pages", rows, "database", database)
    finally:
        server.remove()
    return _report(rounds, rows, switched, cost, rates, pages)


@dataclass(frozen=True)
class Switched:
    """Processor microseconds of a request, with the audit on and off."""

    on_us: float
    off_us: float


def _switched(run: Run, turn: int, seconds: float) -> Switched:
    """Load a gateway that switches its audit on and off, and read what it counted."""
    folder = run.folder(f"audit/switched/{turn}")
    upstream_port, port, result = free_port(), free_port(), folder / "switched.json"
    installation, key = Installation(folder), {"X-API-Key": run.api_key}
    installation.set_up(run.api_key, upstream_port)
    launch = installation.serve(port, "data")
    command = [sys.executable, "-m", "benchmarks.audit_switch", str(result), *launch.command[2:]]
    with (
        upstream(folder, upstream_port),
        Server(
            replace(launch, command=command), GATEWAY_CORE, ready=lambda: fetch(port, PATH, key)[0] == 200
        ),
    ):
        errors = drive(port, PATH, seconds, key).errors
        if errors or not result.exists():
            raise ServerFailed(f"the gateway that switches its audit failed: {errors}")
        figures = json.loads(result.read_text())
    on, off = (figures[name]["seconds"] / figures[name]["answers"] * 1e6 for name in ("on", "off"))
    return Switched(on, off)


def _ask(
    run: Run,
    folder: str,
    work: str,
    count: int,
    sink: str = "file",
    database: str = "",
    options: Sequence[str] = (),
) -> dict[str, float]:
    extra = {"GATEWAY_AUDIT_SINKS": sink} | ({"GATEWAY_DATABASE_URL": database} if database else {})
    installation = Installation(run.folder(f"audit/{folder}"), extra)
    if sink == "database":
        installation.manage("migrate")
    return installation.ask("benchmarks.audit_work", work, "--count", str(count), "--sink", sink, *options)


def _report(
    rounds: int,
    rows: int,
    switched: list[Switched],
    cost: list[dict[str, float]],
    rates: dict[str, list[dict[str, float]]],
    pages: dict[str, float],
) -> Outcome:
    per_core = {
        name: median(entry["delivered"] / entry["processor_seconds"] for entry in entries)
        for name, entries in rates.items()
    }
    wall = {
        name: median(entry["delivered"] / entry["wall_seconds"] for entry in entries)
        for name, entries in rates.items()
    }
    dropped = sum(entry["dropped"] for entry in cost)
    admin = max(taken for name, taken in pages.items() if name.startswith("admin"))
    api = max(taken for name, taken in pages.items() if name.startswith("API"))
    processor = max(taken for name, taken in pages.items() if name.startswith("processor"))
    return Outcome(
        title=PART.title,
        parameters=[
            f"Records of about 900 bytes with every field of a request; medians of {rounds} processes each.",
            "Rates are per core: records over the processor seconds of the shipper and of the server process "
            "that serves it, so that other work on the machine does not count.",
            "On and off: one gateway (`--role data`, pinned, 32 connections, access log on) that switches the audit "
            f"of requests every 100 ms; the loop's processor time by its answers; {rounds} gateways, medians.",
            f"Pages over {rows:,} records of 30 days in PostgreSQL, through Django's whole stack; medians of 7.",
        ],
        columns=["what", "figure"],
        rows=[
            ["a request with the audit off, µs", f"{median(one.off_us for one in switched):.1f}"],
            ["a request with the audit on, µs", f"{median(one.on_us for one in switched):.1f}"],
            ["what the audit adds, µs", f"{median(one.on_us - one.off_us for one in switched):.1f}"],
        ]
        + [[f"to {name}, records/s by the clock", f"{rate:,.0f}"] for name, rate in wall.items()]
        + [[f"{name}, ms", f"{taken:.1f}"] for name, taken in pages.items()],
        figures=[
            Figure(
                "Throughput with the audit on, to off",
                median(one.off_us / one.on_us for one in switched),
                "times",
                WANTED_ON_TO_OFF,
                None,
                digits=3,
            ),
            Figure(
                "A record that is written alone, best of a process",
                median(entry["seconds"] for entry in cost) * 1e6,
                "µs",
            ),
            Figure(
                "Shipped to a file, per core", per_core["file"], "records/s", WANTED_TO_FILE, None, digits=0
            ),
            Figure(
                "Shipped to PostgreSQL, per core, server included",
                per_core["PostgreSQL"],
                "records/s",
                WANTED_TO_POSTGRESQL,
                None,
                digits=0,
            ),
            Figure("Shipped to SQLite, per core", per_core["SQLite"], "records/s", digits=0),
            Figure(f"Slowest admin page, {rows:,} records", admin, "ms", at_most=WANTED_PAGE_MS, digits=1),
            Figure(f"Slowest API page, {rows:,} records", api, "ms", at_most=WANTED_PAGE_MS, digits=1),
            Figure("Most processor time of a page, server included", processor, "ms", digits=1),
        ],
        problems=[f"{dropped:.0f} records were dropped while they were timed"] if dropped else [],
    )


PART = Part(name="audit", title="What the audit log costs", measure=measure)
