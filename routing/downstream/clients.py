"""All client connections of one process: how many there may be, how long they may dawdle, how they end."""

import asyncio
import logging
from time import monotonic
from typing import NamedTuple, Protocol

from routing.downstream.call import Call
from routing.downstream.connection import ClientConnection

logger = logging.getLogger("gatehouse.clients")


class Server(Protocol):
    """What answers calls, at once or in a task."""

    def serve(self, call: Call) -> None: ...


class Limits(NamedTuple):
    """Seconds, but for the first. What a route's service says of its transfers comes before these."""

    connections: int = 16_384
    head: float = 30.0
    idle: float = 75.0
    # More than a service's idle time unless that was set: who forwards a body can answer 408.
    body: float = 90.0
    # Bytes that a client doesn't take: after its answer is complete, or in the middle of it.
    stuck: float = 60.0
    linger: float = 5.0
    sweep: float = 1.0


class Clients:
    """Makes a protocol for each connection. Used from one event loop."""

    def __init__(self, application: Server, address: tuple[str, int], limits: Limits | None = None) -> None:
        self._application = application
        self._limits = limits or Limits()
        self._ready: list[ClientConnection] = []
        self.server = address
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self._connections: set[ClientConnection] = set()
        self._emptied: asyncio.Event = asyncio.Event()
        self._sweeping: asyncio.TimerHandle | None = None
        self._full_said = 0.0

    def __len__(self) -> int:
        return len(self._connections)

    def protocol(self) -> ClientConnection:
        return ClientConnection(self)

    def start_soon(self, connection: ClientConnection) -> None:
        """Have its request answered with the others of this turn of the loop.

        One after the other, each packet read in between, each would find its code and data gone from the
        processor's caches.
        """
        if not self._ready:
            self.loop.call_soon(self._start_ready)
        self._ready.append(connection)

    def _start_ready(self) -> None:
        ready, self._ready = self._ready, []
        for connection in ready:
            connection.start_pending()

    def serve(self, call: Call) -> None:
        try:
            self._application.serve(call)
        except Exception as failure:
            # The outermost edge: the other requests of this turn must not go down with this one.
            self.report(failure)
            call.connection.break_off(call)

    def add(self, connection: ClientConnection) -> bool:
        """Whether there is room for it."""
        if len(self._connections) >= self._limits.connections:
            now = monotonic()
            if now - self._full_said > 10:
                self._full_said = now
                logger.warning("%d connections are open: more are turned away", self._limits.connections)
            return False
        connection.closing_soon = self.draining
        self._connections.add(connection)
        return True

    def discard(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()

    def report(self, failure: BaseException) -> None:
        """What the application raised; a transfer that it broke off on purpose is in the audit already."""
        if not getattr(failure, "deliberate", False):
            logger.error("the application failed", exc_info=failure)

    # --- deadlines -----------------------------------------------------------------------
    def start_sweeping(self) -> None:
        self._sweeping = self.loop.call_later(self._limits.sweep, self._sweep)

    def stop_sweeping(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()

    def _sweep(self) -> None:
        self.start_sweeping()
        now = monotonic()
        for connection in tuple(self._connections):
            self._look_after(connection, now)

    def _look_after(self, connection: ClientConnection, now: float) -> None:
        if connection.upgraded:
            return  # deadlines of its own
        limits = self._limits
        unsent = connection.unsent_bytes
        if unsent:
            connection.busy_at = now
            connection.check_progress(now, unsent, limits.stuck)
            return
        if connection.lingering_since:
            if now - max(connection.lingering_since, connection.busy_at) > limits.linger:
                connection.abort()
        elif connection.closing_since:
            if now - max(connection.closing_since, connection.busy_at) > limits.stuck:
                connection.abort()
        elif connection.is_idle():
            # A transfer may have taken long: the time begins with its end.
            if now - max(connection.heard_at, connection.busy_at) > limits.idle:
                connection.abort()
        elif connection.is_reading_head():
            if now - max(connection.head_since, connection.busy_at) > limits.head:
                connection.head_too_slow()
        else:
            connection.busy_at = now
            if connection.is_waiting_for_body() and now - connection.heard_at > limits.body:
                connection.abort()

    # --- the end -------------------------------------------------------------------------
    async def drain(self, seconds: float) -> bool:
        """Let what has been asked be answered; whether every connection has ended in time."""
        self.draining = True
        self._emptied.clear()
        for connection in tuple(self._connections):
            connection.close_when_idle()
        if self._connections:
            try:
                async with asyncio.timeout(seconds):
                    await self._emptied.wait()
            except TimeoutError:
                pass
        remaining = tuple(self._connections)
        for connection in remaining:
            connection.abort()
        return not remaining
