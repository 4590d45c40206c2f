"""WebSockets through the gateway: echo round trips, the rate of connects, and what an idle one costs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.gateway import ROOT, Installation
from benchmarks.outcome import Figure, Outcome
from benchmarks.parts.part import Part, Run
from benchmarks.servers import Launch, Server, ServerFailed, free_port, pinned, tool

CONNECTIONS = 64
IDLE, QUICK_IDLE = 5_000, 500
IDLE_SECONDS, QUICK_IDLE_SECONDS = 300.0, 10.0
CONNECTS_A_SECOND, QUICK_CONNECTS_A_SECOND = 1_000, 200
CONNECT_SECONDS = 5.0
WANTED_ROUND_TRIPS = 15_000
WANTED_KIBIBYTES = 40
SUT_CORE, LOAD_CORE = 0, 1

CONFIGURATION = """
version: 1
principals:
  - {{name: bench, kind: service_account, api_keys: [{{name: load, secret: "{api_key}"}}]}}
services:
  - {{name: echo, targets: [{{url: "http://127.0.0.1:{port}"}}], timeouts: {{connect: 10, response: 30, idle: 60}}}}
routes:
  - name: echo
    service: echo
    path: /orders
    access: authenticated
    authenticators: [api_key]
    websocket: true
    websocket_options: {{ping_interval: 0}}
"""


def measure(run: Run) -> Outcome:
    folder = run.folder("websocket")
    echo_port = free_port()
    with _echo(folder, echo_port), _redis(run) as redis_url:
        installation = _installation(folder, run, echo_port, redis_url)
        outcome = _round_trips(run, installation, echo_port)
        _connects(run, installation, outcome)
        _idle(run, installation, outcome)
    return outcome


def _installation(folder: Path, run: Run, echo_port: int, redis_url: str) -> Installation:
    installation = Installation(folder, {"GATEWAY_REDIS_URL": redis_url})
    (folder / "data").mkdir(parents=True, exist_ok=True)
    installation.manage("migrate", "--verbosity", "0")
    configuration = folder / "gateway_config.yaml"
    configuration.write_text(CONFIGURATION.format(api_key=run.api_key, port=echo_port))
    installation.manage("gateway_config", "apply", str(configuration))
    return installation


# --- echo ---------------------------------------------------------------------------------


def _round_trips(run: Run, installation: Installation, echo_port: int) -> Outcome:
    gateway_port, reference_port = free_port(), free_port()
    rates: dict[str, list[float]] = {"direct": [], "gateway": [], "stock consumer": []}
    gateway = installation.serve(gateway_port)
    gateway.command[:] = pinned(SUT_CORE, gateway.command)
    with (
        Server(gateway, None, lambda: _listens(gateway_port)),
        Server(_reference(installation, reference_port, echo_port), None, lambda: _listens(reference_port)),
    ):
        ports = {"direct": echo_port, "gateway": gateway_port, "stock consumer": reference_port}
        # Turn by turn: a slow spell of the machine then hits all three.
        for number in range(run.rounds):
            for name, port in ports.items():
                run.say(f"echo, round {number + 1}, {name}")
                seen = _load(run, "echo", port, CONNECTIONS, run.seconds)
                if seen["lost"]:
                    raise ServerFailed(f"{seen['lost']:.0f} connections to {name} were lost")
                rates[name].append(seen["round_trips_a_second"])
    return _report(rates)


def _reference(installation: Installation, port: int, echo_port: int) -> Launch:
    options = ["--interface", "asginl", "--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"]
    options += ["--http", "1", "benchmarks.reference_relay:application"]
    return Launch(
        command=pinned(SUT_CORE, [sys.executable, "-m", "granian", *options]),
        log=installation.directory / "reference.log",
        directory=ROOT,
        environment={
            **installation.environment,
            "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
            "REFERENCE_UPSTREAM": f"ws://127.0.0.1:{echo_port}/orders",
        },
    )


def _report(rates: dict[str, list[float]]) -> Outcome:
    ratio = median(a / b for a, b in zip(rates["gateway"], rates["stock consumer"], strict=True))
    return Outcome(
        title=PART.title,
        parameters=[
            f"{CONNECTIONS} connections echo 128-byte messages; gateway and reference on one core (the same "
            "for both, in turn), clients and the echo service on the other.",
            "The reference is a stock Channels consumer over the `websockets` library under granian: it "
            "decides, limits and records nothing.",
        ],
        columns=["round", *(f"{name}, round trips/s" for name in rates)],
        rows=[
            [str(number + 1), *(f"{rates[name][number]:,.0f}" for name in rates)]
            for number in range(len(rates["direct"]))
        ],
        figures=[
            Figure(
                "Echo through the gateway, median",
                median(rates["gateway"]),
                "round trips/s",
                at_least=WANTED_ROUND_TRIPS,
                digits=0,
            ),
            Figure("Stock consumer, median", median(rates["stock consumer"]), "round trips/s", digits=0),
            Figure("Gateway to stock consumer, median of the rounds", ratio, "x"),
        ],
    )


# --- connects and idle connections --------------------------------------------------------


def _connects(run: Run, installation: Installation, outcome: Outcome) -> None:
    port = free_port()
    rate = QUICK_CONNECTS_A_SECOND if run.quick else CONNECTS_A_SECOND
    with Server(installation.serve(port, workers=2), None, lambda: _listens(port)):
        run.say(f"{rate} connects a second")
        seen = _load(run, "connect", port, rate, CONNECT_SECONDS)
    outcome.parameters.append(
        f"{rate} connects/s for {CONNECT_SECONDS:g} s, each with its key, closed at once; 2 workers."
    )
    outcome.figures += [
        Figure(f"Failures of {rate * CONNECT_SECONDS:,.0f} connects", seen["failures"], at_most=0, digits=0),
        Figure("Slowest connect", seen["slowest_seconds"], "s"),
        Figure("Connects took", seen["took_seconds"], "s"),
    ]


def _idle(run: Run, installation: Installation, outcome: Outcome) -> None:
    count = QUICK_IDLE if run.quick else IDLE
    seconds = QUICK_IDLE_SECONDS if run.quick else IDLE_SECONDS
    port = free_port()
    with Server(installation.serve(port, workers=2), None, lambda: _listens(port)) as server:
        # Warm: the first connections bring buffers and caches that stay.
        _load(run, "connect", port, 100, 1)
        before = server.resident_bytes()
        with _loading("idle", port, count, seconds, run.api_key) as clients:
            assert clients.stdout is not None
            run.say(f"{count} idle connections")
            if json.loads(clients.stdout.readline()).get("event") != "open":
                raise ServerFailed("the idle connections were not opened")
            time.sleep(1)
            opened = server.resident_bytes()
            seen = json.loads(clients.stdout.readline())
    outcome.parameters.append(
        f"{count} idle connections for {seconds:g} s, 2 workers, then one echo on each."
    )
    outcome.figures += [
        Figure(
            "Memory of an idle connection",
            (opened - before) / count / 1024,
            "KiB",
            at_most=WANTED_KIBIBYTES,
            digits=1,
        ),
        Figure("Idle connections dropped", count - seen["answering"], at_most=0, digits=0),
    ]


# --- processes ----------------------------------------------------------------------------


def _load(run: Run, work: str, port: int, count: int, seconds: float) -> dict[str, float]:
    with _loading(work, port, count, seconds, run.api_key) as clients:
        output, _ = clients.communicate(timeout=seconds + 120)
    if clients.returncode:
        raise ServerFailed(f"the clients of {work} failed")
    answer: dict[str, float] = json.loads(output.splitlines()[-1])
    return answer


@contextmanager
def _loading(
    work: str, port: int, count: int, seconds: float, api_key: str
) -> Iterator[subprocess.Popen[str]]:
    options = ["--url", f"ws://127.0.0.1:{port}/orders", "--count", str(count), "--seconds", str(seconds)]
    command = pinned(LOAD_CORE, [sys.executable, "-m", "benchmarks.websocket_load", work, *options])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ)
    ) as clients:
        assert clients.stdin is not None
        clients.stdin.write(api_key + "\n")
        clients.stdin.flush()
        try:
            yield clients
        finally:
            if clients.poll() is None:
                clients.terminate()


@contextmanager
def _echo(folder: Path, port: int) -> Iterator[None]:
    command = pinned(LOAD_CORE, [sys.executable, "-m", "benchmarks.websocket_echo", "--port", str(port)])
    launch = Launch(command=command, log=folder / "echo.log", directory=ROOT)
    with Server(launch, None, lambda: _listens(port)):
        yield


@contextmanager
def _redis(run: Run) -> Iterator[str]:
    folder, port = run.folder("websocket/redis"), free_port()
    command = [tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    launch = Launch(command=[*command, "--appendonly", "no"], log=folder / "redis.log", directory=folder)
    with Server(launch, None, ready=lambda: "Ready to accept" in launch.log.read_text()):
        yield f"redis://127.0.0.1:{port}/0"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


PART = Part(name="websocket", title="WebSockets", measure=measure)
