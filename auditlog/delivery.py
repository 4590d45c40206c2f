"""Bring batches to one sink until each record is stored or set aside. One thread a sink.

A destination that is down delays only its own sink, and for as long as it is down: the spool is the
patience. A record that a destination refuses is tried a few times and then set aside in a file, so
that one bad record never holds up the rest.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from auditlog.cursor import Cursor, CursorUnreadable
from auditlog.reader import Batch, Head, next_batch
from auditlog.segment import Frame
from auditlog.sinks.sink import SinkMisconfigured, SinkRejected, SinkUnavailable, json_line

logger = logging.getLogger("gatehouse.audit")

BATCH_RECORDS = 1000
POLL_SECONDS = 0.25
ATTEMPTS = 5
BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
DEAD_LETTER_DIRECTORY = "undeliverable"

Carry = Callable[[str, Sequence[Frame]], None]


class Undeliverable(NamedTuple):
    """Records set aside: what the audit log must say of itself."""

    sink: str
    count: int
    reason: str


@dataclass
class DeliveryState:
    """Figures of one sink, read by the shipper's main thread."""

    failed: int = 0
    last_error: str = ""
    oldest: float | None = (
        None  # when the first record was made that is still to be delivered, in epoch seconds
    )

    @property
    def lag_seconds(self) -> float:
        """It grows while a destination is down."""
        oldest = self.oldest
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)


class Delivery:
    """The way from the spool to one sink."""

    def __init__(
        self,
        directory: Path,
        sink: str,
        carry: Carry,
        stop: threading.Event,
        on_undeliverable: Callable[[Undeliverable], None],
        backoff_seconds: float = BACKOFF_SECONDS,
    ) -> None:
        self.sink = sink
        self.state = DeliveryState()
        self.heads: dict[str, Head] = {}
        self._directory = directory
        self._carry = carry
        self._stop = stop
        self._on_undeliverable = on_undeliverable
        self._backoff = backoff_seconds
        self._lock = threading.Lock()
        self.cursor = self._load_cursor()

    def _load_cursor(self) -> Cursor:
        path = self._directory / f"cursor-{self.sink}.json"
        try:
            return Cursor.load(path)
        except CursorUnreadable:
            logger.exception(
                "the audit cursor of %s is damaged: delivering all of the spool again", self.sink
            )
            return Cursor(path)

    def run(self) -> None:
        """Deliver until `stop` is set. The batch at hand is finished or left for the next start."""
        while not self._stop.is_set():
            try:
                moved = self.step()
            except Exception as error:
                # The thread's edge: a full disk under the cursor, a damaged segment.
                logger.exception("audit delivery to %s failed", self.sink)
                self._note_failure(error)
                moved = False
            if not moved:
                self._stop.wait(POLL_SECONDS)

    def step(self) -> bool:
        """Deliver one batch; False when there is none or it could not be delivered."""
        batch = next_batch(self._directory, self.cursor.offsets, BATCH_RECORDS)
        if not batch.frames:
            self.state.oldest = None
            return False
        self.state.oldest = _time_of(batch.frames[0])
        aside = self._deliver(list(batch.frames))
        if aside is None:
            return False
        self._advance(batch, aside)
        return True

    def _advance(self, batch: Batch, aside: int) -> None:
        """Note the success. Killed before this, the batch is delivered again and passed over."""
        with self._lock:
            self.cursor.offsets |= batch.offsets
            self.cursor.delivered += len(batch.frames) - aside
            self.cursor.undeliverable += aside
            self.cursor.save()
            self.heads |= batch.heads
        self.state.last_error = ""

    def forget(self, segments: set[str]) -> None:
        with self._lock:
            self.cursor.forget(segments)
            self.cursor.save()

    def _deliver(self, frames: list[Frame], attempts: int = ATTEMPTS) -> int | None:
        """The number of records set aside; None when stopped before all were settled."""
        refused = unavailable = 0
        named = False
        while True:
            try:
                self._carry(self.sink, frames)
                return 0
            except (SinkUnavailable, SinkMisconfigured) as error:
                self._note_failure(error)
                unavailable += 1
            except Exception as error:
                # A refusal or a fault of the sink's own code: in either case these records are the cause.
                self._note_failure(error)
                reasons = error.reasons if isinstance(error, SinkRejected) else range(len(frames))
                # The sink took some of the batch: it knows which records it refuses.
                named = named or len(reasons) < len(frames)
                frames = [frames[index] for index in sorted(reasons)]
                refused += 1
                if refused >= attempts:
                    return self._settle_refused(frames, named, str(error))
            if self._stop.wait(self._pause(max(refused, unavailable))):
                return None

    def _settle_refused(self, frames: list[Frame], named: bool, reason: str) -> int | None:
        if named or len(frames) == 1:
            self._set_aside(frames, reason)
            return len(frames)
        # Nobody knows which one is to blame: offer each half on its own, once.
        middle = len(frames) // 2
        aside = 0
        for half in (frames[:middle], frames[middle:]):
            settled = self._deliver(half, attempts=1)
            if settled is None:
                return None
            aside += settled
        return aside

    def _pause(self, attempt: int) -> float:
        return min(self._backoff * 2 ** min(attempt - 1, 16), LONGEST_BACKOFF_SECONDS)

    def _note_failure(self, error: Exception) -> None:
        self.state.failed += 1
        text = f"{type(error).__name__}: {error}"[:500]
        if text != self.state.last_error:
            logger.warning("audit sink %s: %s", self.sink, text)
        self.state.last_error = text

    def _set_aside(self, frames: list[Frame], reason: str) -> None:
        """Keep what the sink refuses in a file beside the spool: it is evidence all the same."""
        directory = self._directory / DEAD_LETTER_DIRECTORY
        directory.mkdir(mode=0o700, exist_ok=True)
        with (directory / f"{self.sink}.jsonl").open("ab") as file:
            file.writelines(json_line(frame) + b"\n" for frame in frames)
        logger.error("audit sink %s refused %d records: %s", self.sink, len(frames), reason)
        self._on_undeliverable(Undeliverable(self.sink, len(frames), reason[:500]))


def _time_of(frame: Frame) -> float:
    """Seconds since the epoch, from the event id's first 48 bits; now, for what is no record."""
    try:
        identity = orjson.loads(frame.body)["event_id"].replace("-", "")
        return int(identity[:12], 16) / 1000
    except (ValueError, TypeError, KeyError, AttributeError):
        return time.time()
