"""Keep-alive connections to one target: bounded in number, youngest first, swept when idle or late."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from routing.pipeline.errors import UpstreamBusy, UpstreamTimeout, UpstreamUnreachable
from routing.snapshot import TargetAddress
from routing.upstream.addresses import Resolver
from routing.upstream.connection import UpstreamConnection

# Many servers close an idle connection after 5 s or more; staying below avoids most races.
IDLE_SECONDS = 4.5
# A request that may not be repeated gets a connection that was in use a moment ago, or a new one.
FRESH_SECONDS = 1.0
WAITING_LIMIT = 1024
T = TypeVar("T", bound=asyncio.BaseProtocol)


class ConnectionPool:
    """Connections to one address. Used from one event loop."""

    def __init__(
        self, address: TargetAddress, resolver: Resolver, limit: int, tls: ssl.SSLContext | None
    ) -> None:
        self.address = address
        self._resolver = resolver
        self._limit = limit
        self._tls = tls
        self._idle: list[UpstreamConnection] = []
        self._busy: set[UpstreamConnection] = set()
        self._opening = 0
        # Who waits is handed the connection that was used last, or None: leave to open one.
        self._waiting: deque[asyncio.Future[UpstreamConnection | None]] = deque()

    def take_idle(self, repeatable: bool) -> UpstreamConnection | None:
        """The connection used last, if it is usable; None when a new one has to be opened."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.closed:
                continue
            if not repeatable and monotonic() - connection.idle_since > FRESH_SECONDS:
                # The others have been idle longer still.
                idle.append(connection)
                return None
            self._busy.add(connection)
            return connection
        return None

    async def open(self, timeout_seconds: float) -> UpstreamConnection:
        """Connect, or wait for a connection that another request gives back.

        Raises UpstreamUnreachable, UpstreamTimeout, or UpstreamBusy at the limit.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                connection = await self._room()
                if connection is None:
                    connection = await self._connect_in_room()
        except TimeoutError as error:
            if len(self._busy) >= self._limit:
                raise UpstreamBusy(
                    f"all {self._limit} connections to {self.address.host} are in use"
                ) from error
            raise UpstreamTimeout(
                f"no connection to {self.address.host}:{self.address.port} in time"
            ) from error
        return connection

    async def _room(self) -> UpstreamConnection | None:
        """Count one more as being opened, or return a connection that was handed over in its stead."""
        if len(self._busy) + self._opening < self._limit and not self._waiting:
            self._opening += 1
            return None
        if len(self._waiting) >= WAITING_LIMIT:
            raise UpstreamBusy(f"too many requests wait for {self.address.host}")
        waiter: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            connection = await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                # Its turn had come in the same moment: the next one's now.
                self._give_back(waiter.result())
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise
        if connection is not None and connection.closed:
            self._busy.discard(connection)
            self._opening += 1
            return None
        return connection

    def _give_back(self, turn: UpstreamConnection | None) -> None:
        if turn is not None:
            self.release(turn)
            return
        self._opening -= 1
        self._admit_one()

    def _admit_one(self) -> None:
        """Let the first who waits open a connection, now that there is room for one."""
        waiter = self._first_waiting()
        if waiter is not None:
            self._opening += 1
            waiter.set_result(None)

    def _first_waiting(self) -> "asyncio.Future[UpstreamConnection | None] | None":
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    async def _connect_in_room(self) -> UpstreamConnection:
        if self._idle and len(self._busy) + self._opening + len(self._idle) > self._limit:
            # Idle ones count too: the oldest makes place.
            self._idle.pop(0).abort()
        try:
            connection = await self._connect()
        except BaseException:
            self._give_back(None)
            raise
        self._opening -= 1
        self._busy.add(connection)
        return connection

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        return await self._dial(lambda: UpstreamConnection(loop))

    async def dial(self, protocol_factory: Callable[[], T], timeout_seconds: float) -> T:
        """A connection outside of the pool, for a protocol of its own (a WebSocket keeps it for good).

        Raises UpstreamUnreachable or UpstreamTimeout.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._dial(protocol_factory)
        except TimeoutError as error:
            raise UpstreamTimeout(
                f"no connection to {self.address.host}:{self.address.port} in time"
            ) from error

    async def _dial(self, protocol_factory: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        scheme, host, port = self.address
        addresses = await self._resolver.resolve(host, port)
        failures = []
        for address in addresses:
            try:
                _, connection = await loop.create_connection(
                    protocol_factory,
                    address,
                    port,
                    ssl=self._tls if scheme == "https" else None,
                    server_hostname=host if scheme == "https" else None,
                )
            except (OSError, ssl.SSLError) as error:
                failures.append(f"{address}:{port}: {error}")
            else:
                return connection
        raise UpstreamUnreachable("; ".join(failures))

    def release(self, connection: UpstreamConnection, keep: bool = True) -> None:
        """Give a connection back; it is kept only if its exchange ended cleanly."""
        if keep and connection.reusable:
            connection.idle_since = monotonic()
            connection.deadline = 0.0
            waiter = self._first_waiting() if self._waiting else None
            if waiter is not None:
                # From hand to hand: nobody who comes later can take it first.
                waiter.set_result(connection)
                return
            self._busy.discard(connection)
            self._idle.append(connection)
            return
        self._busy.discard(connection)
        connection.abort()
        if self._waiting:
            self._admit_one()

    def sweep(self, now: float) -> None:
        """End what is late, close what is idle too long. Called several times a second."""
        for connection in self._busy:
            if connection.deadline and connection.deadline < now:
                connection.expire()
        oldest = now - IDLE_SECONDS
        if self._idle and (self._idle[0].idle_since < oldest or self._idle[0].closed):
            kept = []
            for connection in self._idle:
                if connection.idle_since < oldest:
                    connection.abort()
                elif not connection.closed:
                    kept.append(connection)
            self._idle = kept

    @property
    def unused(self) -> bool:
        return not self._busy and not self._opening and not self._waiting

    @property
    def open_connections(self) -> int:
        return len(self._busy) + len(self._idle)

    def close(self) -> None:
        """Close every connection, in use or not."""
        for connection in [*self._idle, *self._busy]:
            connection.abort()
        self._idle = []


class Pools:
    """The pools of every target, and the sweep over them."""

    def __init__(
        self, limit: int, allow_loopback: bool, tls: ssl.SSLContext | None = None, own_bind: str = ""
    ) -> None:
        self._limit = limit
        self._resolver = Resolver(allow_loopback, own_bind)
        self._tls = tls or ssl.create_default_context()
        self._pools: dict[TargetAddress, ConnectionPool] = {}

    def of(self, address: TargetAddress) -> ConnectionPool:
        pool = self._pools.get(address)
        if pool is None:
            pool = ConnectionPool(address, self._resolver, self._limit, self._tls)
            self._pools[address] = pool
        return pool

    def keep_only(self, addresses: set[TargetAddress]) -> None:
        """Forget targets that the configuration no longer names, once nothing is under way to them."""
        for address, pool in list(self._pools.items()):
            if address not in addresses and pool.unused:
                pool.close()
                del self._pools[address]

    def sweep(self) -> None:
        now = monotonic()
        for pool in self._pools.values():
            pool.sweep(now)

    @property
    def open_connections(self) -> int:
        return sum(pool.open_connections for pool in self._pools.values())

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
