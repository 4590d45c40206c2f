"""The events of one run: kept for late readers within a bound, and handed to live ones as they happen.

Readers pull from the shared log at their own speed, so a slow one costs no queue of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

CAPACITY = 1_000


@dataclass(frozen=True, slots=True)
class Event:
    """`data` is JSON text, encoded once for all readers. Ids count from 1 without a gap."""

    id: int
    kind: str
    data: str


class EventLog:
    def __init__(self, capacity: int = CAPACITY) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._last_id = 0
        self._changed = asyncio.Event()
        self.closed = False

    def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        self._last_id += 1
        self._events.append(Event(self._last_id, kind, orjson.dumps(data).decode()))
        self._wake()

    def close(self) -> None:
        """Say that nothing more will come: readers end once they have read everything."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        # A fresh signal each time: a reader that holds the old one sees it set, and none has to be reset.
        self._changed.set()
        self._changed = asyncio.Event()

    def since(self, after: int) -> list[Event]:
        """Return the kept events with a higher id; those that were dropped leave a gap in the ids."""
        if not self._events:
            return []
        seen = max(0, after + 1 - self._events[0].id)
        return list(islice(self._events, seen, None))

    async def follow(self, after: int, idle_seconds: float) -> AsyncIterator[Event | None]:
        """Yield the events after an id, then new ones until the log closes.

        None is yielded after each `idle_seconds` without news, for the caller to keep its connection alive.
        """
        while True:
            changed = self._changed
            news = self.since(after)
            for event in news:
                yield event
                after = event.id
            if news:
                continue
            if self.closed:
                return
            try:
                await asyncio.wait_for(changed.wait(), idle_seconds)
            except TimeoutError:
                yield None
