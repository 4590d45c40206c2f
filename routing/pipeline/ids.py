"""Make or continue the ids that tie a request together: X-Request-ID, X-Trace-Id, traceparent. Pure.

W3C Trace Context level 1: traceparent is version-traceid-parentid-flags in lower-case hexadecimal.
"""

import os
import re

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch
_UUID = re.compile(rb"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}").fullmatch
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_POOL_BYTES = 8192


class RandomPool:
    """Random hexadecimal digits from the system, fetched 8 KiB at a time."""

    def __init__(self) -> None:
        self._digits = ""
        self._position = 0

    def take(self, count: int) -> str:
        """Return `count` random hexadecimal digits."""
        position = self._position
        end = position + count
        if end > len(self._digits):
            self._digits = os.urandom(_POOL_BYTES).hex()
            position, end = 0, count
        self._position = end
        return self._digits[position:end]

    def forget(self) -> None:
        self._digits, self._position = "", 0


_pool = RandomPool()
# A forked worker must not repeat its parent's ids.
os.register_at_fork(after_in_child=_pool.forget)
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def new_uuid() -> str:
    """A random UUID, version 4 (RFC 9562)."""
    digits = _pool.take(32)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def new_ids() -> tuple[str, str]:
    """A random UUID and a random span id (64 bits in hexadecimal), for a request that brings none."""
    digits = _pool.take(48)
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}",
        digits[32:],
    )


def request_id_from(value: bytes | None) -> str | None:
    """The client's id if it is at most 128 visible ASCII characters."""
    return value.decode() if value is not None and _REQUEST_ID(value) is not None else None


def trace_id_from(traceparent: bytes | None, trace_id: bytes | None) -> str | None:
    """The trace to continue, as a UUID's text; traceparent wins over X-Trace-Id."""
    if traceparent is not None:
        match = _TRACEPARENT(traceparent)
        if match is not None and _is_usable(match):
            return _as_uuid(match[2].decode())
    if trace_id is not None and _UUID(trace_id) is not None and trace_id.strip(b"0-"):
        return trace_id.decode().lower()
    return None


def _is_usable(match: re.Match[bytes]) -> bool:
    version, trace, parent, rest = match[1], match[2], match[3], match[5]
    if version == b"ff" or trace == b"0" * 32 or parent == b"0" * 16:
        return False
    return version != b"00" or rest is None


def _as_uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def traceparent(trace_id: str, span_id: str) -> str:
    return f"00-{trace_id.replace('-', '')}-{span_id}-01"
