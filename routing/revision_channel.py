"""Tell and hear of new revisions at once: within the process, and over Redis between processes.

Only a hint: a message that gets lost is made up for by the replica's poll.
"""

import asyncio
import logging

import redis
import redis.asyncio
from django.conf import settings

from accounts.revisions import on_new_revision

logger = logging.getLogger("gatehouse.revision_channel")

CHANNEL = "gatehouse:revision"
RECONNECT_SECONDS = 1.0
GOODBYE_SECONDS = 1.0


def announce_over_redis(number: int) -> None:
    """Publish a revision that has been committed; a Redis that is down costs a warning."""
    try:
        client = redis.Redis.from_url(
            settings.GATEWAY_REDIS_URL, socket_timeout=1.0, socket_connect_timeout=1.0
        )
        with client:
            client.publish(CHANNEL, number)
    except redis.RedisError as error:
        logger.warning("revision %s not announced: %s", number, type(error).__name__)


def connect_announcements() -> None:
    """Announce this process's commits over Redis, where there is one."""
    if settings.GATEWAY_REDIS_URL:
        on_new_revision(announce_over_redis)


class RevisionListener:
    """Sets `wake` whenever a revision is announced."""

    def __init__(self, wake: asyncio.Event, redis_url: str) -> None:
        self._wake = wake
        self._redis_url = redis_url
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        on_new_revision(self._heard_in_process)
        if self._redis_url:
            self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            # It says goodbye to Redis, if that listens.
            await asyncio.wait({self._task}, timeout=GOODBYE_SECONDS)

    def _heard_in_process(self, number: int) -> None:
        if not self._stopped and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (redis.RedisError, OSError) as error:
                logger.warning("revision channel lost: %s", type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen_once(self) -> None:
        async with (
            redis.asyncio.Redis.from_url(self._redis_url, health_check_interval=5) as client,
            client.pubsub(ignore_subscribe_messages=True) as channel,
        ):
            await channel.subscribe(CHANNEL)
            # What was announced while nobody listened.
            self._wake.set()
            async for _ in channel.listen():
                self._wake.set()
