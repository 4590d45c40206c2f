"""What a sink is, and the two ways it can fail."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from auditlog.segment import Frame

__all__ = ["Frame", "Sink", "SinkMisconfigured", "SinkRejected", "SinkUnavailable", "json_line"]


class SinkUnavailable(Exception):
    """The destination can't be reached or asks to wait: the same batch is tried again, for ever."""


class SinkRejected(Exception):
    """The destination has taken the batch except the records at these positions, which it refused."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(f"{len(reasons)} records refused: {next(iter(reasons.values()), '')}")
        self.reasons = dict(reasons)


class SinkMisconfigured(Exception):
    """A sink's settings are missing or wrong; nothing is tried until they are mended."""


class Sink(Protocol):
    """Takes batches of records. Used by one thread at a time.

    A batch may come again (a shipper was killed before it noted the success): a sink drops records
    that it has by event id where the destination can, and says in its docstring where it can't.
    """

    def deliver(self, frames: Sequence[Frame]) -> None:
        """Store all frames or raise SinkUnavailable or SinkRejected."""

    def close(self) -> None:
        """Let go of connections and files."""


def json_line(frame: Frame) -> bytes:
    """The record as one line of JSON without its end: the signed body and its hash as last member."""
    return b'%s,"hash":"%s"}' % (frame.body[:-1], frame.digest.hex().encode())
