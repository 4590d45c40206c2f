"""Run one example service in this process: command line, port check, granian, signals, a clean stop.

One process only, as the services keep their data in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette

STOP_TIMEOUT_SECONDS = 2.0


class PortTaken(Exception):
    """The address that a service should listen on cannot be bound."""


def serve(name: str, build_app: Callable[[], Starlette], default_port: int) -> NoReturn:
    """Read the command line, serve until SIGINT or SIGTERM, and end the process with its exit code."""
    logging.basicConfig(level=logging.WARNING, format=f"{name}: %(levelname)s %(message)s")
    options = _parser(name, default_port).parse_args()
    try:
        check_port_free(options.host, options.port)
    except PortTaken as exc:
        sys.exit(f"{name}: {exc}")
    code = asyncio.run(_serve(name, build_app(), options.host, options.port, supervised=options.supervised))
    sys.stdout.flush()
    # Not sys.exit: granian's own threads can outlive the interpreter's teardown, and then they panic.
    os._exit(code)


def check_port_free(host: str, port: int) -> None:
    """Raise PortTaken when nobody could listen there.

    granian binds with SO_REUSEPORT: two services on one port would both start, and share the requests.
    """
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(address[0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address[4])
            probe.listen(1)
    except OSError as exc:
        raise PortTaken(f"cannot listen on {host}:{port}: {exc.strerror}") from exc


def port_number(text: str) -> int:
    """Parse a TCP port, 1 to 65535."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


def _parser(name: str, default_port: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m examples.{name}",
        description=f"Run the {name.replace('_', ' ')} example service until Ctrl-C.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port_number, default=default_port, help="default: %(default)s")
    parser.add_argument(
        "--supervised",
        action="store_true",
        help="ignore Ctrl-C and stop when standard input ends: for a parent process that decides",
    )
    return parser


async def _serve(name: str, app: Starlette, host: str, port: int, *, supervised: bool) -> int:
    server = Server(app, address=host, port=port, interface=Interfaces.ASGI, log_enabled=False)
    stop = asyncio.Event()
    _stop_on_signals(stop, supervised=supervised)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    announcing = asyncio.create_task(_announce(name, host, port))
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    announcing.cancel()
    if not stop.is_set():
        stopping.cancel()
        print(f"{name}: the server ended by itself: {serving.exception()}", file=sys.stderr)
        return 1
    # granian waits for open responses, and an event stream may have an hour to go: the service ends its own.
    end_streams = getattr(app.state, "end_streams", None)
    if end_streams is not None:
        await end_streams()
    server.stop()  # type: ignore[no-untyped-call]
    # A client that uploads slowly must not hold the process up.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(serving, STOP_TIMEOUT_SECONDS)
    return 0


def _stop_on_signals(stop: asyncio.Event, *, supervised: bool) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    if not supervised:
        loop.add_signal_handler(signal.SIGINT, stop.set)
        return
    # Ctrl-C reaches the whole process group; the parent hears it too and stops its children in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop.add_reader(sys.stdin.fileno(), _stop_at_end_of_input, loop, stop)


def _stop_at_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()


async def _announce(name: str, host: str, port: int) -> None:
    """Print where the service is, once it accepts connections."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        print(f"{name} ready on http://{host}:{port}", flush=True)
        return
