"""Places are counted over all who ask the same Redis, and never lost with the worker that held them."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
import redis

from routing import connection_places
from routing.connection_places import ConnectionPlaces, Place, PlacesTaken
from tests.services.redis import RedisServer

OWNER = (7, 42)


def run(redis_url: str, work: Callable[[ConnectionPlaces, ConnectionPlaces], Awaitable[None]]) -> None:
    """Two workers of one gateway, on a Redis without places."""

    async def both() -> None:
        one, other = ConnectionPlaces(redis_url), ConnectionPlaces(redis_url)
        try:
            await work(one, other)
        finally:
            await one.close()
            await other.close()

    asyncio.run(both())


async def is_free(places: ConnectionPlaces, limit: int, owner: tuple[int, int | str] = OWNER) -> bool:
    try:
        place = await places.take(owner, limit)
    except PlacesTaken:
        return False
    assert place is not None
    places.give_back(place)
    await asyncio.sleep(0.05)
    return True


def test_two_workers_count_together(own_redis: RedisServer) -> None:
    async def work(one: ConnectionPlaces, other: ConnectionPlaces) -> None:
        held = await one.take(OWNER, 2)
        assert await other.take(OWNER, 2) is not None
        with pytest.raises(PlacesTaken):
            await one.take(OWNER, 2)
        with pytest.raises(PlacesTaken):
            await other.take(OWNER, 2)
        assert isinstance(held, Place)
        one.give_back(held)
        await asyncio.sleep(0.1)
        assert await is_free(other, 2)

    run(own_redis.url, work)


def test_fifty_that_ask_at_once_get_no_more_than_there_are(own_redis: RedisServer) -> None:
    async def work(one: ConnectionPlaces, other: ConnectionPlaces) -> None:
        asked = [(one, other)[number % 2].take(OWNER, 5) for number in range(50)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, Place) for answer in answers) == 5
        assert sum(isinstance(answer, PlacesTaken) for answer in answers) == 45

    run(own_redis.url, work)


def test_owners_do_not_take_each_others_places(own_redis: RedisServer) -> None:
    async def work(one: ConnectionPlaces, other: ConnectionPlaces) -> None:
        assert await one.take(OWNER, 1) is not None
        assert await is_free(other, 1, (7, 43))
        assert await is_free(other, 1, (8, 42))
        assert await is_free(other, 1, (7, "192.0.2.1"))

    run(own_redis.url, work)


def test_places_of_a_killed_worker_are_free_when_their_leases_end(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_places, "LEASE_SECONDS", 2)

    async def work(one: ConnectionPlaces, other: ConnectionPlaces) -> None:
        killed = ConnectionPlaces(own_redis.url)
        assert await killed.take(OWNER, 1) is not None
        assert not await is_free(other, 1)
        deadline = time.monotonic() + 5
        while not await is_free(other, 1):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        await killed.close()

    run(own_redis.url, work)


def test_places_that_are_held_on_to_are_renewed(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_places, "LEASE_SECONDS", 2)
    monkeypatch.setattr(connection_places, "RENEW_SECONDS", 0.3)

    async def work(one: ConnectionPlaces, other: ConnectionPlaces) -> None:
        assert await one.take(OWNER, 1) is not None
        for _ in range(8):
            await asyncio.sleep(0.5)
            assert not await is_free(other, 1)

    run(own_redis.url, work)


def test_without_redis_nobody_can_tell_and_nobody_waits(own_redis: RedisServer) -> None:
    async def work(one: ConnectionPlaces, other: ConnectionPlaces) -> None:
        held = await one.take(OWNER, 1)
        assert held is not None
        own_redis.stop()
        began = time.monotonic()
        assert [await other.take(OWNER, 1) for _ in range(20)] == [None] * 20
        one.give_back(held)
        assert time.monotonic() - began < 2

    run(own_redis.url, work)


def test_a_worker_that_ends_leaves_no_place_taken(own_redis: RedisServer) -> None:
    async def work(one: ConnectionPlaces, other: ConnectionPlaces) -> None:
        for _ in range(3):
            await one.take(OWNER, 3)
        await one.close()
        assert await is_free(other, 1)

    run(own_redis.url, work)
    assert redis.Redis.from_url(own_redis.url).keys("gatehouse:places:*") == []
