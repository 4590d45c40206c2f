"""Remember when each API key was last used, and write it down at most once a minute."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic

from django.db.models import Q

from accounts.models import ApiKey

WRITE_SECONDS = 60.0
CHUNK = 500
# Keys noted between two writes; beyond it the others wait for their next use.
NOTED_LIMIT = 100_000


class KeyUsage:
    """Noted on the event loop, written in the replica's thread."""

    def __init__(self) -> None:
        self._noted: dict[int, float] = {}
        self._written_at = monotonic()

    def note(self, key_id: int, now: float) -> None:
        """`now` is epoch seconds."""
        if len(self._noted) < NOTED_LIMIT or key_id in self._noted:
            self._noted[key_id] = now

    def write_when_due(self) -> None:
        """Once a minute. Raises DatabaseError; what it took is lost then, and the next use counts."""
        if monotonic() - self._written_at >= WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what was noted, past validation, history and revision: it is no configuration."""
        self._written_at = monotonic()
        noted, self._noted = self._noted, {}
        for part in _batches(sorted(noted.items()), CHUNK):
            keys = [ApiKey(pk=key_id, last_used_at=datetime.fromtimestamp(now, UTC)) for key_id, now in part]
            ApiKey.objects.bulk_update(keys, ["last_used_at"])


def write_use(key_id: int, now: datetime) -> None:
    """For requests outside the data plane: written at once, and at most once a minute."""
    due = Q(last_used_at=None) | Q(last_used_at__lt=now - timedelta(seconds=WRITE_SECONDS))
    key = ApiKey.objects.filter(due, pk=key_id)
    # Asked first: an update that changes nothing would take SQLite's one lock all the same.
    if key.exists():
        key.update(last_used_at=now)


def _batches(items: list[tuple[int, float]], size: int) -> Iterable[list[tuple[int, float]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
