"""From the commit of a revocation to the last 200, on two workers that hear of it through Redis."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import IO

from benchmarks.gateway import ROOT, Installation
from benchmarks.outcome import Figure, Outcome
from benchmarks.parts.part import Part, Run
from benchmarks.rows import secret_of
from benchmarks.servers import Launch, Server, ServerFailed, fetch, free_port, tool, wait_until
from benchmarks.upstream import BODY, upstream

PATH = "/orders/7"
WORKERS = 2
CONNECTIONS = 16
PAUSE_SECONDS = 0.005
TRIALS, QUICK_TRIALS = 7, 2
QUIET_SECONDS = 2.5
WANTED_SECONDS = 2.0


@dataclass
class Watch:
    """Statuses that keep-alive connections saw, each with the monotonic nanosecond of its answer."""

    port: int
    api_key: str
    answers: list[tuple[int, int]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as connections:
            for _ in range(CONNECTIONS):
                connections.create_task(self._connection())

    async def _connection(self) -> None:
        request = (
            f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nX-API-Key: {self.api_key}\r\n\r\n"
        ).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while not self.stopped.is_set():
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_content_length(head))
            self.answers.append((time.monotonic_ns(), int(head[9:12])))
            await asyncio.sleep(PAUSE_SECONDS)
        writer.close()

    def refused_everywhere_since(self, moment_ns: int) -> bool:
        """No 200 for QUIET_SECONDS: whatever still let the key in would have shown."""
        last = self.last_allowed_ns() or moment_ns
        return time.monotonic_ns() - max(last, moment_ns) > QUIET_SECONDS * 1e9

    def last_allowed_ns(self) -> int | None:
        return max((moment for moment, status in list(self.answers) if status == 200), default=None)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ServerFailed("an answer carried no Content-Length")


def measure(run: Run) -> Outcome:
    trials = QUICK_TRIALS if run.quick else TRIALS
    folder = run.folder("revocation")
    upstream_port, port = free_port(), free_port()
    with upstream(folder, upstream_port), _redis(run) as redis_url:
        installation = Installation(folder, {"GATEWAY_REDIS_URL": redis_url})
        installation.set_up(run.api_key, upstream_port)
        installation.write_rows("keys", trials, run.api_key)
        launch = installation.serve(port, "data", WORKERS)
        key = {"X-API-Key": run.api_key}
        ready = lambda: fetch(port, PATH, key) == (200, BODY)  # noqa: E731
        with Server(launch, None, ready) as server, _revoker(installation) as revoker:
            delays = []
            for number in range(trials):
                run.say(f"revocation {number + 1} of {trials}")
                delays.append(_trial(server, port, secret_of(run.api_key, number), revoker, number))
    return _report(delays)


def _trial(server: Server, port: int, api_key: str, revoker: subprocess.Popen[str], number: int) -> float:
    watch = Watch(port, api_key)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        wait_until(lambda: len(watch.answers) > 20 * CONNECTIONS, 30, "the clients to be answered")
        if any(status != 200 for _, status in list(watch.answers)):
            raise ServerFailed("a live key was refused before its revocation")
        _check_all_workers_serve(server, port)
        commands, answers = _pipes(revoker)
        commands.write(f"trial-{number:07d}\n")
        commands.flush()
        committed_ns = int(answers.readline())
        wait_until(lambda: watch.refused_everywhere_since(committed_ns), 30, "the last 200")
    finally:
        watch.stopped.set()
        thread.join()
    statuses = {status for moment, status in watch.answers if moment > committed_ns}
    if not statuses <= {200, 401}:
        raise ServerFailed(f"the revocation brought statuses {sorted(statuses)}")
    last_ns = watch.last_allowed_ns() or committed_ns
    return max(0.0, (last_ns - committed_ns) / 1e9)


def _check_all_workers_serve(server: Server, port: int) -> None:
    """Each worker must hold some of the connections, or the trial would not show the slower one."""
    serving = [
        process.pid
        for process in server.processes()
        if any(c.laddr.port == port and c.status == "ESTABLISHED" for c in process.net_connections("tcp"))
    ]
    if len(serving) < WORKERS:
        raise ServerFailed(f"only {len(serving)} of {WORKERS} workers held a connection")


@contextmanager
def _redis(run: Run) -> Iterator[str]:
    folder, port = run.folder("revocation/redis"), free_port()
    command = [tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    launch = Launch(command=[*command, "--appendonly", "no"], log=folder / "redis.log", directory=folder)
    with Server(launch, None, ready=lambda: "Ready to accept" in launch.log.read_text()):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _revoker(installation: Installation) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.rows", "revoke"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=installation.process_environment,
    ) as process:
        commands, answers = _pipes(process)
        if answers.readline().strip() != "ready":
            raise ServerFailed("the process that revokes did not start")
        yield process
        commands.close()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise ServerFailed("the process that revokes has no pipes")
    return process.stdin, process.stdout


def _report(delays: list[float]) -> Outcome:
    return Outcome(
        title=PART.title,
        parameters=[
            f"{WORKERS} workers, private Redis, SQLite; {CONNECTIONS} keep-alive connections over both "
            f"workers ask every {PAUSE_SECONDS * 1000:g} ms; a third process revokes their key; "
            f"{len(delays)} trials, a new key each.",
            "From the moment the transaction committed to the arrival of the last 200 on any connection; "
            f"a trial ends after {QUIET_SECONDS:g} s without one.",
        ],
        columns=["trial", "last 200 after, ms"],
        rows=[[str(number + 1), f"{delay * 1000:.1f}"] for number, delay in enumerate(delays)],
        figures=[
            Figure("Commit to last 200, median", median(delays), "s", at_most=WANTED_SECONDS, digits=3),
            Figure("Commit to last 200, longest", max(delays), "s", at_most=WANTED_SECONDS, digits=3),
        ],
    )


PART = Part(name="revocation", title="Revocation on 2 workers with Redis", measure=measure)
