"""Count the records that could not be stored, until the log itself can say so. Holds no lock and no file."""

import logging
import time
from typing import Any

logger = logging.getLogger("gatehouse.audit")


class Drops:
    """`total` since the start of the process, `unreported` since the last report, and why."""

    def __init__(self) -> None:
        self.total = self.unreported = 0
        self.reason = ""
        self._first = self._last = 0.0

    def count(self, error: Exception, now: float, records: int) -> None:
        if not self.unreported:
            self._first = now
            logger.error("audit records are being dropped: %s: %s", type(error).__name__, error)
        self.reason = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
        self._last = now
        self.unreported += records
        self.total += records

    def report(self) -> dict[str, Any]:
        """The fields of the record `records_dropped`. Once that is stored, call `reported`."""
        return {
            "dropped": self.unreported,
            "reason": self.reason,
            "first_drop": _moment(self._first),
            "last_drop": _moment(self._last),
        }

    def reported(self) -> None:
        self.unreported = 0


def _moment(now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
