"""Count the WebSockets of one principal on one route over all workers and hosts: places, leased in Redis.

A place is a member of a sorted set, scored with the second its lease ends; its worker renews what it
holds. A worker that is killed renews nothing: its places are free again when their leases end. The clock
is Redis's own. Without Redis, or while it can't be reached, each worker counts for itself (routing.live).
"""

import asyncio
import itertools
import logging
import secrets
from time import monotonic
from typing import Any, NamedTuple

import redis
import redis.asyncio

logger = logging.getLogger("gatehouse.live")

LEASE_SECONDS = 60
RENEW_SECONDS = 20.0
# Redis that doesn't answer within this is done without, and left alone for a while.
REDIS_SECONDS = 0.5
RETRY_SECONDS = 5.0
RENEWED_AT_ONCE = 1000
_KEY = "gatehouse:places:"

# KEYS[1]: the set; ARGV: limit, lease, place
_TAKE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
# KEYS[1]: the set; ARGV: lease, places
_RENEW = """
local ends = tonumber(redis.call('TIME')[1]) + ARGV[1]
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], ends, ARGV[i]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return #ARGV - 1
"""


class PlacesTaken(Exception):
    """As many are open as may be."""


class Place(NamedTuple):
    owner: str
    name: str


class ConnectionPlaces:
    """What this worker holds. Used from its event loop; connects at the first place that is asked for."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._redis: Any = None
        self._held: dict[str, set[str]] = {}
        self._names = (f"{secrets.token_hex(8)}:{number}" for number in itertools.count())
        self._renewing: asyncio.Task[None] | None = None
        self._giving_back: set[asyncio.Task[None]] = set()
        self._away_until = 0.0

    async def take(self, owner: tuple[int, int | str], limit: int) -> Place | None:
        """A place for one more of `owner`, None when nobody can tell. Raises PlacesTaken."""
        if not self._redis_url or monotonic() < self._away_until:
            return None
        place = Place(_KEY + ":".join(str(part) for part in owner), next(self._names))
        try:
            taken = await self._client().eval(_TAKE, 1, place.owner, limit, LEASE_SECONDS, place.name)
        except (redis.RedisError, OSError) as error:
            self._do_without(error)
            return None
        if not taken:
            raise PlacesTaken
        self._held.setdefault(place.owner, set()).add(place.name)
        if self._renewing is None:
            self._renewing = asyncio.ensure_future(self._renew_forever())
        return place

    def give_back(self, place: Place) -> None:
        """The connection has ended. Returns at once; a Redis that is away lets the lease run out."""
        held = self._held.get(place.owner)
        if held is None or place.name not in held:
            return
        held.discard(place.name)
        if not held:
            del self._held[place.owner]
        if monotonic() >= self._away_until:
            task = asyncio.ensure_future(self._remove(place))
            self._giving_back.add(task)
            task.add_done_callback(self._giving_back.discard)

    async def close(self) -> None:
        """Give everything back that is held, and let Redis go."""
        if self._renewing is not None:
            self._renewing.cancel()
        if self._giving_back:
            await asyncio.wait(tuple(self._giving_back), timeout=REDIS_SECONDS)
        if self._redis is not None:
            try:
                for owner, names in self._held.items():
                    await self._redis.zrem(owner, *names)
            except (redis.RedisError, OSError):
                logger.debug("places are left to their leases")
            await self._redis.aclose()
            self._redis = None
        self._held.clear()

    def _client(self) -> Any:
        if self._redis is None:
            self._redis = redis.asyncio.Redis.from_url(
                self._redis_url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
            )
        return self._redis

    async def _remove(self, place: Place) -> None:
        try:
            await self._client().zrem(place.owner, place.name)
        except (redis.RedisError, OSError) as error:
            self._do_without(error)

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._renew()
            except (redis.RedisError, OSError) as error:
                self._do_without(error)

    async def _renew(self) -> None:
        for owner, names in list(self._held.items()):
            for batch in _batches(names):
                await self._client().eval(_RENEW, 1, owner, LEASE_SECONDS, *batch)

    def _do_without(self, error: Exception) -> None:
        if monotonic() >= self._away_until:
            logger.warning(
                "Redis can't be reached (%s): each worker counts connections by itself", type(error).__name__
            )
        self._away_until = monotonic() + RETRY_SECONDS


def _batches(names: set[str]) -> list[list[str]]:
    ordered = list(names)
    return [ordered[start : start + RENEWED_AT_ONCE] for start in range(0, len(ordered), RENEWED_AT_ONCE)]
