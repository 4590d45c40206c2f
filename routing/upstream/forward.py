"""What every request of a process shares on its way upstream: pools, turns, and the sweep over what is under way."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from routing.downstream.call import Call
from routing.live import LiveConnections
from routing.pipeline.exchange import Exchange
from routing.snapshot import CompiledRoute
from routing.upstream.balancer import Balancer
from routing.upstream.direct_passage import CarryOn, DirectPassage
from routing.upstream.passage import IDEMPOTENT, Finish, Passage, Receive, Send
from routing.upstream.pool import Pools

logger = logging.getLogger("gatehouse.forward")


class Forwarder:
    """What every request of a process shares: pools, turns, and the sweep over what is under way."""

    def __init__(self, pools: Pools) -> None:
        self.pools = pools
        self.balancer = Balancer()
        self.under_way: set[Passage] = set()
        self._to_send: list[DirectPassage] = []
        self._ready: list[DirectPassage] = []
        self.live: LiveConnections | None = None
        # Waits until what `finish` recorded is durable; only where the audit is required.
        self.settle: Callable[[], Awaitable[None]] | None = None
        # Around the recording of one turn's answers, which are stored as one block between the two.
        self.hold_records: Callable[[], None] = _nothing
        self.release_records: Callable[[], None] = _nothing

    async def forward(
        self, exchange: Exchange, route: CompiledRoute, receive: Receive, send: Send, finish: Finish
    ) -> None:
        """Carry the exchange to its end. `finish` is called once, before the last byte goes out.

        Raises UpstreamFailure, BodyTooLarge, ClientLeft or ClientTimeout while nothing of a response
        has been sent (`exchange.status` is 0 then), UpstreamAborted or ClientLeft afterwards.
        """
        passage = Passage(self, exchange, route, receive, send, finish)
        self.under_way.add(passage)
        try:
            await passage.run()
        finally:
            self.under_way.discard(passage)
            if passage.unfinished:
                passage.close()

    def forward_at_once(
        self,
        exchange: Exchange,
        route: CompiledRoute,
        call: Call,
        carry_on: CarryOn,
        finish: Finish,
    ) -> bool:
        """Send a request that has come whole over a pooled connection; False when there is none.

        No task waits for the answer: it is passed on from the connection's own callback if it comes whole,
        and by `carry_on`, which makes a task, if not.
        """
        order = self.balancer.order(route.service)
        if not order:
            return False
        target = order[0]
        pool = self.pools.of(target.address)
        connection = pool.take_idle(exchange.method in IDEMPOTENT)
        if connection is None:
            self.balancer.give_back(route.service)
            return False
        try:
            DirectPassage(self, exchange, route, target, call, carry_on, finish).begin(connection, pool)
        except BaseException:
            # Nothing has been sent over it.
            pool.release(connection, keep=True)
            raise
        return True

    def send_soon(self, passage: DirectPassage) -> None:
        """Send with the other requests of this turn of the loop."""
        if not self._to_send:
            asyncio.get_running_loop().call_soon(self._send_all)
        self._to_send.append(passage)

    def _send_all(self) -> None:
        passages, self._to_send = self._to_send, []
        for passage in passages:
            passage.send()

    def answer_soon(self, passage: DirectPassage) -> None:
        """Record and send with the other answers of this turn of the loop.

        One after the other each would find its code and data gone from the processor's caches: together
        they cost half.
        """
        if not self._ready:
            asyncio.get_running_loop().call_soon(self._answer_ready)
        self._ready.append(passage)

    def _answer_ready(self) -> None:
        ready, self._ready = self._ready, []
        self.hold_records()
        recorded = [passage for passage in ready if passage.record()]
        try:
            self.release_records()
        except Exception:
            # The outermost edge: a fault in one record must not keep the answers of a whole turn.
            logger.exception("the records of a turn can't be written", extra={"answers": len(recorded)})
        for passage in recorded:
            passage.answer()

    def sweep(self) -> None:
        """Look after deadlines and clients that left; called several times a second."""
        self.pools.sweep()
        now = monotonic()
        for passage in tuple(self.under_way):
            passage.look_after(now)


def _nothing() -> None:
    pass
