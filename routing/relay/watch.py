"""Tell from what a leg has seen whether its peer is there, and whether it takes what is sent to it."""

from enum import Enum
from typing import Protocol

STALL_SECONDS = 30.0
# Of an interval: asked after three quarters of silence, given up before the second one is over.
_ASK, _GIVE_UP = 0.75, 1.75


class Trouble(Enum):
    STALLED = "stalled"
    SILENT = "silent"


class Watched(Protocol):
    """What is looked at; one that can't be pinged has no silence that says anything."""

    frames: int
    freed: int

    @property
    def reading_paused(self) -> bool: ...

    def unsent_bytes(self) -> int: ...

    def unacknowledged_bytes(self) -> int: ...

    def room(self) -> int: ...

    def ping(self) -> None: ...


class Watch:
    """What was seen at the last look; looked at about once a second. Sends the pings."""

    __slots__ = ("_asked", "_frames", "_freed", "_heard_at", "_moved_at", "_queued", "_room", "_unsent")

    def __init__(self, now: float) -> None:
        self._heard_at = self._moved_at = now
        self._asked = False
        self._frames = self._freed = self._unsent = self._queued = self._room = 0

    def look(self, leg: Watched, now: float, ping_interval: float | None) -> Trouble | None:
        unsent = leg.unsent_bytes()
        if unsent == 0 or unsent != self._unsent or leg.freed != self._freed:
            self._unsent, self._freed, self._moved_at = unsent, leg.freed, now
        elif now - self._moved_at > STALL_SECONDS:
            return Trouble.STALLED
        if ping_interval is None:
            return None
        # A ping stands behind what is unsent, and a pong that we don't read on purpose can't be held against it.
        if leg.frames != self._frames or unsent or leg.reading_paused:
            self._frames = leg.frames
            self._heard(now)
            return None
        return self._ask(leg, now, ping_interval)

    def _ask(self, leg: Watched, now: float, interval: float) -> Trouble | None:
        silent = now - self._heard_at
        if silent < _ASK * interval:
            return None
        room, queued = leg.room(), leg.unacknowledged_bytes()
        if not self._asked:
            self._asked, self._room, self._queued = True, room, queued
            leg.ping()
        elif room != self._room or 0 < queued < self._queued:
            # It is in the middle of a long frame, or still reads what was sent before the ping.
            self._heard(now)
        elif silent >= _GIVE_UP * interval:
            return Trouble.SILENT
        return None

    def _heard(self, now: float) -> None:
        self._heard_at, self._asked = now, False
