"""Keep account of what lives longer than its decision: WebSockets and streamed responses.

Each is asked about again and again under the rules of now, so that a revoked key, an ended grant or
a disabled route ends it within seconds; and all of them are ended in order when the process stops.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from time import monotonic, time
from typing import TYPE_CHECKING, Protocol

from accounts.identity import CredentialNotLoaded
from routing.pipeline.decide import World, reconsider, reconsider_in_memory
from routing.pipeline.errors import Draining, Refusal, RouteChanged, Unavailable
from routing.pipeline.exchange import Exchange

if TYPE_CHECKING:
    from routing.snapshot import CompiledRoute

logger = logging.getLogger("gatehouse.live")

TICKS_PER_LOOK = 20  # of the sweep's: each connection is looked after at least once a second
LOOKS_PER_QUESTION = 3  # time alone (an expiry) ends a permission within three seconds
# After a change of the configuration this many are asked about in a tick, besides those in turn.
URGENT_PER_TICK = 400


class Live(Protocol):
    """Something under way that can be looked after and ended."""

    exchange: Exchange
    route: "CompiledRoute"

    def end_access(self, refusal: Refusal) -> None:
        """It would be refused by now."""

    def drain(self) -> None:
        """The process is about to stop."""

    def look_after(self, now: float) -> None:
        """Called with the monotonic time, once a second or, where there are few, more often."""


class LiveConnections:
    """Everything long-lived of one process. Used from its event loop."""

    def __init__(self) -> None:
        self.draining = False
        self._entries: dict[Live, int] = {}  # and how often each was looked after
        self._counts: Counter[tuple[int, int | str]] = Counter()
        self._round: list[Live] = []
        self._position = 0
        self._per_tick = 0
        self._urgent: list[Live] = []
        self._revision = -1
        self._asking: dict[Live, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Live) -> None:
        self._entries[entry] = 0
        self._counts[owner_of(entry.exchange, entry.route)] += 1
        if self.draining:
            entry.drain()

    def discard(self, entry: Live) -> None:
        if self._entries.pop(entry, None) is None:
            return
        owner = owner_of(entry.exchange, entry.route)
        self._counts[owner] -= 1
        if self._counts[owner] <= 0:
            del self._counts[owner]

    def count(self, exchange: Exchange, route: "CompiledRoute") -> int:
        """How many this exchange's principal (its address, on a public route) has open on the route."""
        return self._counts[owner_of(exchange, route)]

    def tick(self, world: World) -> None:
        """A slice of the work; called twenty times a second."""
        snapshot = world.snapshot
        if snapshot is not None and snapshot.revision != self._revision:
            self._revision = snapshot.revision
            self._urgent = list(self._entries)
        if self._urgent:
            now, self._urgent, slice_ = time(), self._urgent[URGENT_PER_TICK:], self._urgent[:URGENT_PER_TICK]
            for entry in slice_:
                self._ask(world, entry, now)
        self._look_after_some(world)

    def _look_after_some(self, world: World) -> None:
        if self._position >= len(self._round):
            self._round, self._position = list(self._entries), 0
            self._per_tick = -(-len(self._round) // TICKS_PER_LOOK)
        chosen = self._round[self._position : self._position + self._per_tick]
        self._position += self._per_tick
        if not chosen:
            return
        clock, now = monotonic(), time()
        for entry in chosen:
            looks = self._entries.get(entry)
            if looks is None:
                continue
            self._entries[entry] = looks + 1
            entry.look_after(clock)
            if looks % LOOKS_PER_QUESTION == 0:
                self._ask(world, entry, now)

    def _ask(self, world: World, entry: Live, now: float) -> None:
        if entry not in self._entries or entry in self._asking:
            return
        try:
            judge(reconsider_in_memory(world, entry.exchange, now), entry)
        except Refusal as refusal:
            self._end(entry, refusal)
        except CredentialNotLoaded:
            task = asyncio.ensure_future(self._ask_database(world, entry, now))
            self._asking[entry] = task
            task.add_done_callback(lambda _: self._asking.pop(entry, None))

    async def _ask_database(self, world: World, entry: Live, now: float) -> None:
        try:
            judge(await reconsider(world, entry.exchange, now), entry)
        except Refusal as refusal:
            self._end(entry, refusal)

    def _end(self, entry: Live, refusal: Refusal) -> None:
        # While the gateway itself can't tell, what was let through before goes on.
        if not isinstance(refusal, Unavailable):
            entry.end_access(refusal)

    async def drain(self, seconds: float) -> bool:
        """End everything and take nothing new; whether all of it was gone in time."""
        self.draining = True
        deadline = monotonic() + seconds
        for entry in list(self._entries):
            entry.drain()
        while (ending := self._sockets()) and monotonic() < deadline:
            await asyncio.sleep(0.02)
            for entry in ending:
                entry.look_after(monotonic())
        return not ending

    def _sockets(self) -> list[Live]:
        return [entry for entry in self._entries if entry.exchange.websocket]


class LiveTransfer:
    """A request that has been under way for long, such as server-sent events."""

    __slots__ = ("_break_off", "exchange", "route")

    def __init__(
        self,
        exchange: Exchange,
        route: "CompiledRoute",
        break_off: Callable[[Refusal, bool], None],
    ) -> None:
        self.exchange = exchange
        self.route = route
        self._break_off = break_off

    def end_access(self, refusal: Refusal) -> None:
        self._break_off(refusal, False)

    def drain(self) -> None:
        # Other transfers end by themselves: the server gives them its drain time.
        self._break_off(Draining("the gateway is stopping"), True)

    def look_after(self, now: float) -> None:
        """The forwarder's own sweep keeps its deadlines."""


def judge(route: "CompiledRoute", entry: Live) -> None:
    """Raises RouteChanged when the route that would be taken by now is another than at the start."""
    if route is entry.route:
        return
    if entry.exchange.websocket and not route.same_rules(entry.route):
        raise RouteChanged("the route was changed")
    if route.id != entry.route.id:
        raise RouteChanged("another route would be taken")
    # The same in other words: compare with this one from now on.
    entry.route = route


def owner_of(exchange: Exchange, route: "CompiledRoute") -> tuple[int, int | str]:
    """Whose connections are counted together: a principal's on a route; on a public one, an address's."""
    identity = exchange.identity
    return route.id, exchange.client_ip if identity is None else identity.principal_id
