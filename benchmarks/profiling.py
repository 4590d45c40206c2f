"""Sample the gateway's worker with py-spy while it is loaded; write a flame graph and print what is hot."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

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
    """Profile one worker for `seconds` three times: stacks by line, flame graph, and speedscope."""
    FOLDER.mkdir(parents=True, exist_ok=True)
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
            load = drive(port, PATH, SETTLE_SECONDS, key)
            console.print(
                f"unprofiled: {load.requests_per_second:,.0f} requests/s, p50 {load.p50_us / 1000:.2f} ms, "
                f"p99 {load.p99_us / 1000:.2f} ms, errors {load.errors or 'none'}"
            )
            worker = server.busiest_process().pid
            stacks = FOLDER / f"{role}.collapsed"
            for form, path in (
                ("raw", stacks),
                ("flamegraph", FOLDER / f"{role}.svg"),
                ("speedscope", FOLDER / f"{role}.speedscope.json"),
            ):
                command = wrk_command(port, PATH, seconds + SETTLE_SECONDS, key)
                with subprocess.Popen(command, stdout=subprocess.DEVNULL) as wrk:
                    _record(worker, form, path, seconds, native)
                    wrk.wait()
    _show(console, stacks, top)
    console.print(f"Flame graph, stacks and speedscope file: {FOLDER.relative_to(ROOT)}/{role}.*")


def _record(pid: int, form: str, path: Path, seconds: float, native: bool) -> None:
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--format", form]
    command += ["--output", str(path), "--duration", str(max(1, round(seconds)))]
    command += ["--rate", str(SAMPLES_A_SECOND), *(["--native"] if native else [])]
    answer = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True)
    if answer.returncode != 0:
        raise ServerFailed(f"py-spy failed (it needs leave to trace the process)\n{answer.stderr}")


def _show(console: Console, stacks: Path, top: int) -> None:
    """Self time by function and by line, and time with callees by function."""
    own_lines: Counter[str] = Counter()
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        functions = [_without_line(frame) for frame in frames]
        own_lines[_shortened(frames[-1])] += int(count)
        own[functions[-1]] += int(count)
        inclusive.update({function: int(count) for function in set(functions)})
    total = own.total()
    for title, counts in (
        ("self time by function", own),
        ("self time by line", own_lines),
        ("with callees", inclusive),
    ):
        table = Table("%", "function", title=title, title_justify="left")
        for frame, samples in counts.most_common(top):
            table.add_row(f"{100 * samples / total:.1f}", frame)
        console.print(table)


def _without_line(frame: str) -> str:
    """`name (path/file.py:12)` without its line, so that a function's samples add up."""
    name, _, place = _shortened(frame).rpartition(" (")
    return f"{name} ({place.rpartition(':')[0]})" if ":" in place else _shortened(frame)


def _shortened(frame: str) -> str:
    return frame.replace(f"{ROOT}/", "").replace("(.venv/lib/", "(")
