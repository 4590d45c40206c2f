"""Run every example service as a child process: start all, and stop all when asked or when one ends."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass

from examples.serve import PortTaken, check_port_free, port_number

STOP_TIMEOUT_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Service:
    """A package of this folder, and the port it listens on."""

    name: str
    port: int

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}-port"


SERVICES = (
    Service("backtest_engine", 9001),
    Service("orders", 9002),
    Service("products", 9003),
    Service("users", 9004),
)


def main(arguments: list[str] | None = None) -> int:
    """Run all services until SIGINT or SIGTERM. Returns 0, or 1 when one failed to start or to go on."""
    options = _parser().parse_args(arguments)
    services = [Service(service.name, getattr(options, f"{service.name}_port")) for service in SERVICES]
    taken = _taken_ports(options.host, services)
    if taken:
        print("\n".join(taken), file=sys.stderr)
        print("Nothing was started. Free the port, or give another: see --help.", file=sys.stderr)
        return 1
    return asyncio.run(_run(options.host, services))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples", description="Run all example services until Ctrl-C."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    for service in SERVICES:
        about = f"port of the {service.name.replace('_', ' ')} (default: %(default)s)"
        parser.add_argument(
            service.option, type=port_number, default=service.port, metavar="PORT", help=about
        )
    return parser


def _taken_ports(host: str, services: list[Service]) -> list[str]:
    """Return a line for each service that could not listen; all are named at once."""
    lines = []
    for service in services:
        try:
            check_port_free(host, service.port)
        except PortTaken as exc:
            lines.append(f"{service.name}: {exc} (choose another with {service.option})")
    return lines


async def _run(host: str, services: list[Service]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    children = {service.name: await _start(host, service) for service in services}
    stopping = asyncio.create_task(stop.wait())
    endings = [asyncio.create_task(_name_when_ended(name, child)) for name, child in children.items()]
    done, _ = await asyncio.wait({stopping, *endings}, return_when=asyncio.FIRST_COMPLETED)
    if stopping not in done:
        ended = next(task.result() for task in endings if task in done)
        code = children[ended].returncode
        print(f"{ended} ended by itself with exit code {code}: stopping all services", file=sys.stderr)
    stopping.cancel()
    await asyncio.gather(*(_stop(child) for child in children.values()))
    await asyncio.gather(*endings)
    if stopping in done:
        print("all services stopped")
    return 0 if stopping in done else 1


async def _start(host: str, service: Service) -> Process:
    command = ["-m", f"examples.{service.name}", "--host", host, "--port", str(service.port), "--supervised"]
    # The pipe is never written to: it ends when this process does, however it does, and the child then stops.
    return await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE)


async def _name_when_ended(name: str, child: Process) -> str:
    await child.wait()
    return name


async def _stop(child: Process) -> None:
    if child.returncode is not None:
        return
    child.terminate()
    try:
        await asyncio.wait_for(child.wait(), STOP_TIMEOUT_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()
