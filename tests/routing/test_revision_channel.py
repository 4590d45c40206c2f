"""A new revision is heard of at once, over Redis too; a Redis that is away costs a warning."""

import asyncio
import logging
from typing import Any

import pytest

from accounts import revisions
from routing.revision_channel import RevisionListener, announce_over_redis
from tests.routing.event_loop import run, until
from tests.services.redis import RedisServer


@pytest.fixture(autouse=True)
def no_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "_listeners", [])


def test_commit_in_this_process_wakes_whoever_follows() -> None:
    async def scenario() -> None:
        wake = asyncio.Event()
        listener = RevisionListener(wake, "")
        listener.start()
        # From the thread that committed.
        await asyncio.to_thread(revisions._announce, 5)
        await asyncio.wait_for(wake.wait(), 5)
        await listener.stop()
        wake.clear()
        await asyncio.to_thread(revisions._announce, 6)
        await asyncio.sleep(0)
        assert not wake.is_set()

    run(scenario())
    # A loop that has ended is no obstacle to a commit.
    revisions._announce(7)


def test_commit_of_another_process_comes_over_redis(
    own_redis: RedisServer, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.GATEWAY_REDIS_URL = own_redis.url
    monkeypatch.setattr("routing.revision_channel.RECONNECT_SECONDS", 0.05)

    async def scenario() -> None:
        wake = asyncio.Event()
        listener = RevisionListener(wake, own_redis.url)
        listener.start()
        # What was announced before it listened counts as heard.
        await asyncio.wait_for(wake.wait(), 5)
        wake.clear()
        await asyncio.to_thread(announce_over_redis, 5)
        await asyncio.wait_for(wake.wait(), 5)

        await asyncio.to_thread(own_redis.stop)
        await until(lambda: "revision channel lost" in caplog.text, "the loss is said")
        # To announce is in vain and no error.
        await asyncio.to_thread(announce_over_redis, 6)
        wake.clear()
        await asyncio.to_thread(own_redis.start)
        await asyncio.wait_for(wake.wait(), 10)
        wake.clear()
        await asyncio.to_thread(announce_over_redis, 7)
        await asyncio.wait_for(wake.wait(), 5)
        await listener.stop()

    with caplog.at_level(logging.WARNING, "gatehouse.revision_channel"):
        run(scenario(), timeout_seconds=40)
    assert "revision 6 not announced" in caplog.text
