"""One worker process: an event loop, the application's lifespan, the listening socket, and an orderly end."""

import asyncio
import logging
import signal
import socket
import sys
from time import monotonic
from typing import Any

import uvloop
from django.conf import settings

from gateway_site import draining
from gateway_site.bind import Bind
from gateway_site.large_buffers import give_back_large_buffers
from routing.downstream.call import ASGIApplication
from routing.downstream.clients import Clients

logger = logging.getLogger("gatehouse.server")

BACKLOG = 2048
# What is left of an application at the end: its own closing is given this long.
SHUTDOWN_SECONDS = 10.0


class LifespanFailed(Exception):
    """The application said that it can't start; its own words are in the log."""


class Lifespan:
    """The application's start and end (ASGI lifespan)."""

    def __init__(self, application: ASGIApplication) -> None:
        self._to_application: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_application: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        self._task = asyncio.ensure_future(
            application(scope, self._to_application.get, self._from_application.put)
        )

    async def startup(self) -> None:
        """Raises LifespanFailed, or what the application raised."""
        await self._exchange("lifespan.startup")

    async def shutdown(self) -> None:
        await self._exchange("lifespan.shutdown")

    async def _exchange(self, kind: str) -> None:
        await self._to_application.put({"type": kind})
        answer = asyncio.ensure_future(self._from_application.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            self._task.result()
            raise LifespanFailed(f"the application ended at {kind}")
        if answer.result()["type"] != f"{kind}.complete":
            raise LifespanFailed(answer.result().get("message", ""))


class Worker:
    """Serves `bind` until SIGTERM or SIGINT."""

    def __init__(self, application: Any, bind: Bind) -> None:
        self._application = application
        self._bind = bind
        self._ending: asyncio.Event = asyncio.Event()

    def run(self) -> None:
        give_back_large_buffers()
        uvloop.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        lifespan = Lifespan(self._application)
        await lifespan.startup()
        clients = Clients(self._application, (self._bind.host, self._bind.port))
        server = await loop.create_server(
            clients.protocol, sock=listening_socket(self._bind), backlog=BACKLOG
        )
        clients.start_sweeping()
        logger.info("worker serves on %s", self._bind)
        await self._ending.wait()
        await self._end(server, clients, lifespan)

    async def _end(self, server: asyncio.AbstractServer, clients: Clients, lifespan: Lifespan) -> None:
        """Readiness goes first, then new connections, then what is under way, then the rest."""
        deadline = monotonic() + settings.GATEWAY_DRAIN_SECONDS
        draining.state.announced = True
        sockets_ended = await self._application.drain(settings.GATEWAY_DRAIN_SECONDS)
        server.close()
        requests_ended = await clients.drain(max(0.0, deadline - monotonic()))
        if not (sockets_ended and requests_ended):
            logger.warning("connections were still open at the end of the drain time")
        clients.stop_sweeping()
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await lifespan.shutdown()
        except TimeoutError:
            logger.warning("the application did not come to its end in %d seconds", SHUTDOWN_SECONDS)


def listening_socket(bind: Bind) -> socket.socket:
    """Each worker has one of its own on the same port: the kernel spreads connections evenly."""
    family, kind, protocol, _, address = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)[0]
    stream = socket.socket(family, kind, protocol)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    stream.setblocking(False)
    stream.bind(address)
    return stream


def main(bind: Bind) -> None:
    """Run a worker to its end; the exit status says whether it could start."""
    from gateway_site.asgi import application

    try:
        Worker(application, bind).run()
    except (LifespanFailed, OSError) as error:
        logger.error("the worker can't serve: %s", error)
        sys.exit(1)
