"""Work of the audit log in a process of its own, timed by processor: `python -m benchmarks.audit_work WORK`.

The answer is one line of JSON. Started with an installation's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROUNDS, PAGE_ROUNDS = 5, 7
# Answered in one turn of the loop; what a busy gateway has waiting when it comes round.
TURN_REQUESTS = 16
OF_ONE_REQUEST = frozenset(
    {"request_id", "trace_id", "path", "status", "bytes_in", "bytes_out", "duration_ms", "upstream_ms"}
)
FIELDS: dict[str, Any] = {
    "trace_id": "018f3f3e7c527f0a9a3e3f2a7a1b2c3d",
    "principal_id": 12,
    "credential_kind": "api_key",
    "credential": "abcdefghij",
    "authenticator": "api_key",
    "service": "orders",
    "target": "http://127.0.0.1:9001",
    "asset": "orders",
    "action": "read",
    "grant": 4,
    "method": "GET",
    "host": "gateway.example.com",
    "rule": "grant:4",
    "revision": 17,
    "user_agent": b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
    "bytes_in": 0,
    "bytes_out": 1024,
    "duration_ms": 3.217,
    "upstream_ms": 2.81,
}
DECISIONS = [("allow", 200)] * 18 + [("grant_missing", 403), ("rate_limited", 429)]


def requests(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Fields of `count` different requests from number `first` on, as the data plane hands them over."""
    generator = random.Random(7 + first)
    made = []
    for number in range(first, first + count):
        decision, status = ("upstream_timeout", 504) if number % 50_021 == 0 else DECISIONS[number % 20]
        made.append(
            FIELDS
            | {
                "request_id": str(uuid.UUID(int=generator.getrandbits(128), version=4)),
                "principal": "rare" if number % 100_003 == 0 else f"user{number % 500}",
                "route": f"route{number % 30}",
                "client_ip": f"10.0.{number % 200}.{number % 250}",
                "path": f"/api/orders/{number}",
                "decision": decision,
                "status": status,
            }
        )
    return made


def record(count: int) -> dict[str, float]:
    """Processor time of one record on the way of an answer, the spool's files included; the best round."""
    from auditlog import recorder

    fields = requests(count)
    rounds = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        for entry in fields:
            recorder.record("request_completed", entry)
        rounds.append((time.thread_time() - started) / count)
    dropped = recorder.counters()["dropped"]
    recorder.close()
    return {"seconds": min(rounds), "dropped": dropped}


def spool_in_turns(entries: list[dict[str, Any]], turn: int = TURN_REQUESTS) -> None:
    """Spool as the data plane does: what was answered in one turn together, a refusal by itself."""
    from auditlog import recorder

    for begin in range(0, len(entries), turn):
        allowed = []
        for entry in entries[begin : begin + turn]:
            if entry["decision"] == "allow":
                key = (entry["principal"], entry["route"], entry["client_ip"])
                allowed.append((key, entry, _occurrence(entry), b""))
            else:
                recorder.record("request_completed", entry)
        recorder.record_turn(_repeated, allowed)
    recorder.close()


def _repeated(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in OF_ONE_REQUEST}


def _occurrence(entry: dict[str, Any]) -> tuple[Any, ...]:
    now, milliseconds = int(time.time() * 1_000_000), (entry["duration_ms"], entry["upstream_ms"])
    duration, upstream = (int(figure * 1000) for figure in milliseconds)
    texts = (entry["request_id"], entry["trace_id"], entry["path"])
    return now, *texts, None, entry["status"], entry["bytes_in"], entry["bytes_out"], duration, upstream


def ship(sink: str, count: int) -> dict[str, float]:
    """Spool `count` records, then bring them to a sink: processor and wall time, the server's included."""
    from django.conf import settings

    from auditlog.carrier import carry_here, close_sinks
    from auditlog.delivery import Delivery

    spool_in_turns(requests(count))
    spool = Path(settings.GATEWAY_AUDIT_SPOOL_DIR)
    delivery = Delivery(spool, sink, carry_here, threading.Event(), print)
    server = _server_clock(sink)
    served, busy, started = server(), time.process_time(), time.monotonic()
    while delivery.step():
        pass
    figures = {
        "delivered": delivery.cursor.delivered,
        "wall_seconds": time.monotonic() - started,
        "processor_seconds": time.process_time() - busy + server() - served,
    }
    close_sinks()
    return figures


def fill(count: int, first: int, total: int) -> dict[str, float]:
    """Store `count` of `total` records of the last 30 days, from number `first` on, past the spool."""
    from auditlog.chain import START, link
    from auditlog.record import RecordEncoder, new_chain_id
    from auditlog.redaction import Redaction
    from auditlog.segment import Frame
    from auditlog.sinks.database import DatabaseSink

    begin, step = time.time() - 30 * 86_400, 30 * 86_400 / total
    encoder = RecordEncoder("bench", new_chain_id(begin, secrets.randbits(74)), Redaction(salt=b"bench"))
    sink, head, batch = DatabaseSink(), START, []
    for number, fields in enumerate(requests(count, first)):
        body = encoder.encode("request_completed", fields, begin + (first + number) * step, number)
        head = link(head, body)
        batch.append(Frame(head, body))
        if len(batch) == 1000:
            sink.deliver(batch)
            batch = []
    sink.deliver(batch)
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE auditlog_auditrecord")
    return {"stored": count}


def pages(count: int) -> dict[str, float]:
    """Milliseconds of each page, through Django's whole stack; the median of several.

    "processor …" is the time that a page took of a core, the server's included: other work on the
    machine makes a page late, but hardly adds to that.
    """
    from statistics import median

    from django.test import Client

    from accounts.models import Principal

    viewer, _ = Principal.objects.get_or_create(name="viewer", is_staff=True, is_superuser=True)
    # Not the test environment: its templates note every context they are rendered with.
    client = Client(HTTP_HOST="localhost")
    client.force_login(viewer)
    times = {}
    server = _server_clock("database")
    for name, address in _addresses():
        taken = []
        busy, served = time.process_time(), server()
        for _ in range(PAGE_ROUNDS):
            started = time.perf_counter()
            response = client.get(address)
            taken.append((time.perf_counter() - started) * 1000)
            if response.status_code != 200:
                raise SystemExit(f"{address} answered {response.status_code}")
        times[name] = median(taken)
        processor = time.process_time() - busy + server() - served
        times[f"processor {name}"] = processor / PAGE_ROUNDS * 1000
    return times


def _addresses() -> Iterator[tuple[str, str]]:
    from auditlog.models import AuditRecord

    middle = AuditRecord.objects.order_by("event_id")[1000]
    admin = "/admin/auditlog/auditrecord/"
    day = f"time__year={middle.time:%Y}&time__month={middle.time.month}&time__day={middle.time.day}"
    yield "admin: newest", admin
    yield "admin: page 200", f"{admin}?p=200"
    yield "admin: one day", f"{admin}?{day}"
    yield "admin: a frequent principal", f"{admin}?principal=user7"
    yield "admin: a rare principal", f"{admin}?principal=rare"
    yield "admin: a rare status", f"{admin}?status_class=504"
    yield "admin: search a request id", f"{admin}?q={middle.request_id}"
    yield "admin: one record", f"{admin}{middle.pk}/change/"
    yield "API: newest 100", "/v1/audit?limit=100"
    yield "API: a rare status", "/v1/audit?limit=100&status=504"
    yield "API: principal, route, decision", "/v1/audit?principal=user7&route=route17&decision=allow"
    yield "API: nobody's principal", "/v1/audit?principal=nobody"
    yield "API: old period", f"/v1/audit?until={middle.time:%Y-%m-%dT%H:%M:%SZ}"


def _server_clock(sink: str) -> Callable[[], float]:
    """Processor seconds of the PostgreSQL process that serves this one; 0 without."""
    from django.db import connection

    if sink != "database" or connection.vendor != "postgresql":
        return lambda: 0.0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        stat = Path(f"/proc/{cursor.fetchone()[0]}/stat")
    ticks = os.sysconf("SC_CLK_TCK")

    def seconds() -> float:
        after_name = stat.read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / ticks

    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["record", "ship", "fill", "pages"])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--total", type=int, default=20_000)
    parser.add_argument("--sink", default="file")
    chosen = parser.parse_args()
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
    django.setup()
    if chosen.work == "ship":
        answer = ship(chosen.sink, chosen.count)
    elif chosen.work == "fill":
        answer = fill(chosen.count, chosen.first, chosen.total)
    else:
        answer = {"record": record, "pages": pages}[chosen.work](chosen.count)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
