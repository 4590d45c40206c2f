"""Count what a client sends against a connection's own limits. Pure: the clock is handed in."""


class Meter:
    """Two token buckets, messages and bytes, each holding one second's worth; None: no such limit."""

    __slots__ = ("_at", "_byte_rate", "_bytes", "_message_rate", "_messages")

    def __init__(self, messages_per_second: int | None, bytes_per_second: int | None, now: float) -> None:
        self._message_rate = messages_per_second or float("inf")
        self._byte_rate = bytes_per_second or float("inf")
        self._messages, self._bytes = self._message_rate, self._byte_rate
        self._at = now

    def take(self, size: int, now: float) -> bool:
        """Whether a message of this size may pass now. One larger than a second's bytes never may."""
        elapsed, self._at = now - self._at, now
        if self._message_rate != float("inf"):
            self._messages = min(self._message_rate, self._messages + elapsed * self._message_rate)
        if self._byte_rate != float("inf"):
            self._bytes = min(self._byte_rate, self._bytes + elapsed * self._byte_rate)
        self._messages -= 1
        self._bytes -= size
        return self._messages >= 0 and self._bytes >= 0
