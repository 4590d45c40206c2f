"""The event log: late readers get what is kept, live ones what comes, and all of them end with it."""

import asyncio

import pytest

from examples.backtest_engine.event_log import EventLog

IDLE_SECONDS = 30.0


async def ids(log: EventLog, after: int = 0) -> list[int]:
    return [event.id async for event in log.follow(after, IDLE_SECONDS) if event is not None]


def published(count: int, capacity: int = 1_000) -> EventLog:
    log = EventLog(capacity)
    for number in range(count):
        log.publish("progress", {"number": number})
    return log


@pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3]), (2, [3]), (3, []), (99, [])])
def test_late_reader_gets_what_is_kept_after_its_position(after: int, expected: list[int]) -> None:
    log = published(3)
    log.close()
    assert asyncio.run(ids(log, after)) == expected


def test_oldest_events_are_dropped_and_leave_a_gap_in_the_ids() -> None:
    log = published(10, capacity=4)
    log.close()
    assert asyncio.run(ids(log)) == [7, 8, 9, 10]
    assert asyncio.run(ids(log, after=8)) == [9, 10]


def test_live_readers_get_each_event_as_it_comes_and_end_with_the_log() -> None:
    async def scenario() -> list[list[int]]:
        log = published(1)
        readers = [asyncio.create_task(ids(log)) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
            log.publish("progress", {})
        log.close()
        return await asyncio.gather(*readers)

    assert asyncio.run(scenario()) == [[1, 2, 3, 4, 5, 6]] * 3


def test_reader_without_news_hears_so_and_goes_on_waiting() -> None:
    async def scenario() -> tuple[object, object]:
        log = EventLog()
        reader = log.follow(0, idle_seconds=0.001)
        idle = await anext(reader)
        log.publish("progress", {})
        while (event := await anext(reader)) is None:
            pass
        return idle, event.id

    assert asyncio.run(scenario()) == (None, 1)
