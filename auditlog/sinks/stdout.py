"""Write records as JSON lines to the standard output of the shipper or worker, for a log collector.

At least once: a collector sees a batch again after a kill -9 between writing and noting it.
"""

import sys
from collections.abc import Sequence

from auditlog.sinks.sink import Frame, SinkUnavailable, json_line


class StdoutSink:
    """Whole lines in one write, so that another writer's line can't cut them."""

    def deliver(self, frames: Sequence[Frame]) -> None:
        try:
            sys.stdout.buffer.write(b"".join(json_line(frame) + b"\n" for frame in frames))
            sys.stdout.buffer.flush()
        except (OSError, ValueError) as error:
            raise SinkUnavailable(f"standard output: {error}") from error

    def close(self) -> None:
        """Standard output is the process's, not ours to close."""


def open_sink() -> StdoutSink:
    return StdoutSink()
