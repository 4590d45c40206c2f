"""Sample the gateway's worker with py-spy while it is loaded; write a flame graph and print what is hot."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.gateway import ROOT, Installation
from benchmarks.load import drive, wrk_command
from benchmarks.parts.part import new_api_key
from benchmarks.servers import GATEWAY_CORE, LOAD_CORE, Server, ServerFailed, fetch, free_port, pinned
from benchmarks.upstream import BODY, upstream

PATH = "/orders/7"
FOLDER = ROOT / "var" / "profile"
SAMPLES_A_SECOND = 250
SETTLE_SECONDS = 2


def profile(console: Console, seconds: float, role: str, native: bool, top: int) -> None:
    """Load one worker unsampled, then sample it for `seconds` twice: stacks to count, and a flame graph."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stacks = FOLDER / f"{role}.collapsed"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        upstream_port, port, api_key = free_port(), free_port(), new_api_key()
        key = {"X-API-Key": api_key}
        installation = Installation(directory)
        installation.set_up(api_key, upstream_port)
        ready = lambda: fetch(port, PATH, key) == (200, BODY)  # noqa: E731
        with (
            upstream(directory, upstream_port),
            Server(installation.serve(port, role), GATEWAY_CORE, ready) as server,
        ):
            before = {process.pid: _spent(process) for process in server.processes()}
            drive(port, PATH, SETTLE_SECONDS, key)
            worker = max(server.processes(), key=lambda each: _spent(each) - before.get(each.pid, 0.0))
            _show_unsampled(console, port, key, worker, seconds)
            for form, path in (("raw", stacks), ("flamegraph", FOLDER / f"{role}.svg")):
                command = wrk_command(port, PATH, seconds + SETTLE_SECONDS, key)
                with subprocess.Popen(command, stdout=subprocess.DEVNULL) as wrk:
                    _record(worker.pid, form, path, seconds, native)
                    wrk.wait()
    _show_stacks(console, stacks, top)
    console.print(f"Flame graph and stacks: {FOLDER.relative_to(ROOT)}/{role}.svg, {role}.collapsed")


def _show_unsampled(
    console: Console, port: int, key: dict[str, str], worker: psutil.Process, seconds: float
) -> None:
    """Requests and processor time, by kernel thread: what Python's profile can't see is here."""
    before, cpu_before = _thread_seconds(worker), worker.cpu_times()
    load = drive(port, PATH, seconds, key)
    after, cpu_after = _thread_seconds(worker), worker.cpu_times()
    spent = cpu_after.user + cpu_after.system - cpu_before.user - cpu_before.system
    console.print(
        f"not sampled: {load.requests_per_second:,.0f} requests/s, p50 {load.p50_us / 1000:.2f} ms, "
        f"p99 {load.p99_us / 1000:.2f} ms, errors {load.errors or 'none'}; worker: "
        f"{load.requests / spent:,.0f} requests per CPU second ({spent / load.requests * 1e6:.0f} µs each, "
        f"{(cpu_after.system - cpu_before.system) / spent:.0%} of it in the kernel)"
    )
    table = Table("µs a request", "%", "thread", title="processor time by thread", title_justify="left")
    shares = Counter({thread: after[thread] - before.get(thread, 0.0) for thread in after})
    for thread, thread_spent in shares.most_common(8):
        each_us = thread_spent / load.requests * 1e6
        table.add_row(f"{each_us:.1f}", f"{100 * thread_spent / spent:.1f}", thread)
    console.print(table)


def _spent(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def _thread_seconds(process: psutil.Process) -> dict[str, float]:
    return {
        f"{_thread_name(process.pid, thread.id)} ({thread.id})": thread.user_time + thread.system_time
        for thread in process.threads()
    }


def _thread_name(pid: int, thread: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
    except OSError:
        return "ended"


def _record(pid: int, form: str, path: Path, seconds: float, native: bool) -> None:
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--format", form]
    command += ["--output", str(path), "--duration", str(max(1, round(seconds))), "--threads"]
    # With --gil only the thread that runs Python counts: waiting ones don't hide it.
    command += ["--rate", str(SAMPLES_A_SECOND), "--native" if native else "--gil"]
    answer = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True)
    if answer.returncode != 0:
        raise ServerFailed(f"py-spy failed (it needs leave to trace the process)\n{answer.stderr}")


def _show_stacks(console: Console, stacks: Path, top: int) -> None:
    """Python time by thread; self time by function and by line; time with callees by function."""
    threads: Counter[str] = Counter()
    own_lines: Counter[str] = Counter()
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        functions = [_without_line(frame) for frame in frames] or [thread]
        threads[thread] += int(count)
        own_lines[_shortened(frames[-1] if frames else thread)] += int(count)
        own[functions[-1]] += int(count)
        inclusive.update({function: int(count) for function in set(functions)})
    total = max(1, own.total())
    # What every stack passes through on its way from main() tells nothing.
    inclusive = Counter({function: count for function, count in inclusive.items() if count < 0.95 * total})
    console.print(f"{total} samples of {SAMPLES_A_SECOND} a second")
    for title, counts in (
        ("Python time by thread", threads),
        ("self time by function", own),
        ("self time by line", own_lines),
        ("with callees", inclusive),
    ):
        table = Table("%", "where", title=title, title_justify="left")
        for frame, samples in counts.most_common(top):
            table.add_row(f"{100 * samples / total:.1f}", frame)
        console.print(table)


def _without_line(frame: str) -> str:
    """`name (path/file.py:12)` without its line, so that a function's samples add up."""
    name, _, place = _shortened(frame).rpartition(" (")
    return f"{name} ({place.rpartition(':')[0]})" if ":" in place else _shortened(frame)


def _shortened(frame: str) -> str:
    return frame.replace(f"{ROOT}/", "").replace("(.venv/lib/", "(")
