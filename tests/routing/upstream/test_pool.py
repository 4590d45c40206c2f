"""Connections to one target: how many, who gets them, and when they are closed."""

import asyncio
from typing import Any

import pytest

from routing.pipeline.errors import UpstreamBusy, UpstreamTimeout, UpstreamUnreachable
from routing.snapshot import TargetAddress
from routing.upstream import pool as module
from routing.upstream.addresses import Resolver
from routing.upstream.connection import UpstreamConnection
from routing.upstream.pool import ConnectionPool, Pools
from tests.routing.event_loop import run, until
from tests.routing.upstream.scripted_server import Peer, ScriptedServer, listening


async def hold(peer: Peer) -> None:
    await peer.rest()


def pool_of(server: ScriptedServer | int, limit: int = 2) -> ConnectionPool:
    port = server if isinstance(server, int) else server.port
    return ConnectionPool(TargetAddress("http", "127.0.0.1", port), Resolver(True), limit, None)


async def answered(pool: ConnectionPool, connection: UpstreamConnection) -> None:
    """Use a connection for one clean exchange and give it back."""
    connection.start("GET", b"GET / HTTP/1.1\r\n\r\n", 5, 5)
    connection.data_received(b"HTTP/1.1 204 No Content\r\n\r\n")
    pool.release(connection)


def waiting(
    pool: ConnectionPool, count: int, seconds: float = 5.0
) -> list["asyncio.Task[UpstreamConnection]"]:
    return [asyncio.ensure_future(pool.open(seconds)) for _ in range(count)]


def test_clean_connection_is_used_again_and_any_other_is_closed() -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server)
            first = await pool.open(1)
            await answered(pool, first)
            assert pool.take_idle(repeatable=True) is first
            first.start("GET", b"x", 5, 5)
            # Nothing came back: whatever may still come must meet no other request.
            pool.release(first)
            assert first.closed
            assert pool.take_idle(repeatable=True) is None
            await until(lambda: not server.open, "the connection closes")

    run(scenario())


def test_last_used_is_the_first_to_be_used_again() -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server)
            first, second = await pool.open(1), await pool.open(1)
            await answered(pool, first)
            await answered(pool, second)
            assert pool.take_idle(repeatable=True) is second
            pool.close()

    run(scenario())


def test_connection_idle_for_long_is_not_given_to_what_cannot_be_repeated() -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server)
            connection = await pool.open(1)
            await answered(pool, connection)
            connection.idle_since -= module.FRESH_SECONDS + 0.1
            assert pool.take_idle(repeatable=False) is None
            assert pool.take_idle(repeatable=True) is connection
            pool.close()

    run(scenario())


def test_limit_holds_whatever_is_in_use_opening_or_idle() -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server, limit=2)
            for _ in range(4):
                taken = [await pool.open(1), await pool.open(1)]
                for connection in taken:
                    await answered(pool, connection)
                    connection.idle_since -= module.FRESH_SECONDS + 0.1
                assert pool.open_connections <= 2
                # New ones for what can't be repeated, though two are idle.
                assert pool.take_idle(repeatable=False) is None
            await until(lambda: server.open <= 2, "the older ones close")
            pool.close()

    run(scenario())


def test_beyond_the_limit_they_wait_in_order_and_get_what_is_given_back() -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server, limit=1)
            connection = await pool.open(1)
            first, second, third = waiting(pool, 3)
            await asyncio.sleep(0)
            for waiter in (first, second, third):
                await answered(pool, connection)
                # Nobody who comes now takes it from who has waited.
                assert pool.take_idle(repeatable=True) is None
                assert await waiter is connection
            assert len(server.peers) == 1
            pool.close()

    run(scenario())


def test_late_comer_does_not_overtake() -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server, limit=1)
            connection = await pool.open(1)
            order: list[str] = []

            async def use(name: str) -> None:
                got = await pool.open(5)
                order.append(name)
                await answered(pool, got)

            early = asyncio.ensure_future(use("early"))
            await asyncio.sleep(0)
            # Given back unusable: there is room for a new connection, and it is the early one's.
            connection.start("GET", b"x", 5, 5)
            pool.release(connection, keep=False)
            late = asyncio.ensure_future(use("late"))
            await asyncio.gather(early, late)
            assert order == ["early", "late"]
            pool.close()

    run(scenario())


def test_waiting_ends_with_busy_at_the_timeout() -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server, limit=1)
            connection = await pool.open(1)
            with pytest.raises(UpstreamBusy):
                await pool.open(0.05)
            # Who gave up is forgotten.
            await answered(pool, connection)
            assert pool.take_idle(repeatable=True) is connection
            pool.close()

    run(scenario())


def test_too_many_that_wait_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_LIMIT", 2)

    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server, limit=1)
            connection = await pool.open(1)
            waiters = waiting(pool, 2)
            await asyncio.sleep(0)
            with pytest.raises(UpstreamBusy, match="too many"):
                await pool.open(60)
            for waiter in waiters:
                await answered(pool, connection)
                assert await waiter is connection
            pool.close()

    run(scenario())


@pytest.mark.parametrize("given_back", ["clean", "broken"])
@pytest.mark.parametrize("moment", ["before", "same-tick", "same-tick-after"])
def test_cancelled_waiter_passes_its_turn_on(given_back: str, moment: str) -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server, limit=1)
            connection = await pool.open(1)
            first, second = waiting(pool, 2)
            await asyncio.sleep(0)

            async def give_back() -> None:
                if given_back == "clean":
                    await answered(pool, connection)
                else:
                    pool.release(connection, keep=False)

            if moment == "before":
                first.cancel()
                await asyncio.sleep(0)
                await give_back()
            elif moment == "same-tick":
                first.cancel()
                await give_back()
            else:
                await give_back()
                first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            got = await second
            assert (got is connection) == (given_back == "clean")
            assert pool.open_connections == 1
            pool.release(got, keep=False)
            assert pool.unused

    run(scenario())


def test_failed_connect_lets_the_next_in_line_try() -> None:
    """The one place is taken by an attempt that fails: who waits for it must not wait for ever."""

    async def scenario() -> None:
        pool = pool_of(1, limit=1)
        outcomes = await asyncio.gather(*waiting(pool, 3, seconds=5), return_exceptions=True)
        assert [type(each) for each in outcomes] == [UpstreamUnreachable] * 3
        assert pool.unused

    run(scenario(), timeout_seconds=4)


def test_connection_that_closed_on_its_way_to_a_waiter_is_replaced() -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server, limit=1)
            connection = await pool.open(1)
            (waiter,) = waiting(pool, 1)
            await asyncio.sleep(0)
            await answered(pool, connection)
            connection.abort()
            got = await waiter
            assert got is not connection
            assert not got.closed
            assert pool.open_connections == 1
            pool.close()

    run(scenario())


def test_connect_that_takes_too_long_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(60)

    async def scenario() -> None:
        pool = pool_of(1)
        monkeypatch.setattr(pool, "_connect", never)
        with pytest.raises(UpstreamTimeout):
            await pool.open(0.05)
        assert pool.unused

    run(scenario())


def test_sweep_ends_what_is_late_and_closes_what_is_idle_too_long() -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pool = pool_of(server, limit=4)
            late, in_time, old, young = [await pool.open(1) for _ in range(4)]
            for busy, seconds in ((late, 1.0), (in_time, 60.0)):
                busy.start("GET", b"x", seconds, seconds)
            answer = late.response()
            await answered(pool, old)
            await answered(pool, young)
            old.idle_since -= module.IDLE_SECONDS
            young.idle_since += 2.0
            pool.sweep(late.deadline + 0.5)
            with pytest.raises(UpstreamTimeout):
                await answer
            assert (old.closed, young.closed, in_time.closed) == (True, False, False)
            assert pool.take_idle(repeatable=True) is young
            pool.close()

    run(scenario())


def test_connection_closed_by_the_upstream_while_idle_is_never_taken() -> None:
    async def close_soon(peer: Peer) -> None:
        await peer.reader.read(1)

    async def scenario() -> None:
        async with listening(close_soon) as server:
            pool = pool_of(server)
            connection = await pool.open(1)
            await answered(pool, connection)
            await until(lambda: connection.closed, "the upstream closes")
            assert pool.take_idle(repeatable=True) is None

    run(scenario())


def test_target_that_the_configuration_names_no_more_is_forgotten_when_unused() -> None:
    async def scenario() -> None:
        async with listening(hold) as server:
            pools = Pools(2, allow_loopback=True)
            address = TargetAddress("http", "127.0.0.1", server.port)
            connection = await pools.of(address).open(1)
            pools.keep_only(set())
            # Under way: it may end in peace.
            assert not connection.closed
            await answered(pools.of(address), connection)
            pools.keep_only({address})
            assert not connection.closed
            pools.keep_only(set())
            assert connection.closed
            assert pools.open_connections == 0

    run(scenario())
