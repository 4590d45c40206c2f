"""The recorder of this process: the one way into the audit log.

`record` is called on the way of every answer: it never blocks and never raises.
"""

import atexit
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from auditlog.chain_writer import AuditUnavailable, Recorder
from auditlog.repeating import Repeating

_recorder: Recorder | None = None
_start_lock = threading.Lock()


def start(directory: Path | None = None) -> Recorder:
    """The recorder of this process, made at the first call. Idempotent."""
    global _recorder
    if _recorder is not None:
        return _recorder
    with _start_lock:
        if _recorder is None:
            _recorder = _from_settings(directory)
            _recorder.start()
    return _recorder


def record(event: str, fields: dict[str, Any], now: float | None = None) -> None:
    """Record an event; never blocks, never raises. What can't be stored is a counted drop."""
    (_recorder or start()).record(event, fields, now)


def record_turn(repeated: Callable[[Any], dict[str, Any]], requests: Sequence[Repeating]) -> list[int]:
    """Record the requests of one turn of the loop: the positions of those whose words are not plain.

    See Recorder.record_turn.
    """
    return (_recorder or start()).record_turn(repeated, requests)[1]


def record_required(event: str, fields: dict[str, Any], now: float | None = None) -> None:
    """Record an event that must not be lost. Raises AuditUnavailable when it isn't stored."""
    recorder = _recorder or start()
    if not recorder.record(event, fields, now):
        raise AuditUnavailable("the audit record can't be stored")


def sign() -> None:
    """See Recorder.sign."""
    (_recorder or start()).sign()


def record_turn_required(
    repeated: Callable[[Any], dict[str, Any]], requests: Sequence[Repeating]
) -> list[int]:
    """The same for requests that must not go unrecorded. Raises AuditUnavailable when one isn't stored."""
    stored, not_plain = (_recorder or start()).record_turn(repeated, requests)
    if not stored:
        raise AuditUnavailable("the audit record can't be stored")
    return not_plain


def has_room() -> bool:
    """See Recorder.has_room: asked before a request that must not go unrecorded is let through."""
    return (_recorder or start()).has_room()


async def durable() -> None:
    """See Recorder.durable."""
    await (_recorder or start()).durable()


def close() -> None:
    """Flush and seal; the next record starts a new chain."""
    global _recorder
    with _start_lock:
        recorder, _recorder = _recorder, None
    if recorder is not None:
        recorder.close()


def figures() -> tuple[int, int]:
    """How many records this process has stored and has dropped so far; asks no disk and takes no lock."""
    recorder = _recorder
    return (0, 0) if recorder is None else (recorder.recorded, recorder.dropped)


def counters() -> dict[str, int]:
    """Figures of this process and of its spool: looks at the directory."""
    return (_recorder or start()).counters()


def _from_settings(directory: Path | None) -> Recorder:
    from django.conf import settings

    from auditlog.configuration import redaction_from_settings, signing_key

    return Recorder(
        directory or settings.GATEWAY_AUDIT_SPOOL_DIR,
        node=settings.GATEWAY_NODE or socket.gethostname(),
        redaction=redaction_from_settings(),
        key=signing_key(),
        segment_bytes=settings.GATEWAY_AUDIT_SEGMENT_BYTES,
        limit_bytes=settings.GATEWAY_AUDIT_SPOOL_BYTES,
        fsync=settings.GATEWAY_AUDIT_FSYNC,
    )


def _after_fork() -> None:
    global _recorder, _start_lock
    _start_lock = threading.Lock()
    inherited, _recorder = _recorder, None
    if inherited is not None:
        inherited.abandon()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close)

__all__ = [
    "AuditUnavailable",
    "Recorder",
    "Repeating",
    "close",
    "counters",
    "durable",
    "figures",
    "has_room",
    "record",
    "record_required",
    "record_turn",
    "record_turn_required",
    "sign",
    "start",
]
