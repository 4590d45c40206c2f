"""Requests told to a recorder in one turn of the loop, for tests of what becomes of their block."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from auditlog.block import Occurrence
from auditlog.recorder import Recorder
from auditlog.repeating import Repeating

AT = 1_700_000_000_250_001


def occurrence(number: int = 0, path: str = "/api/orders/7", query: str | None = None) -> Occurrence:
    request_id = str(uuid.UUID(int=number + (7 << 76), version=4))
    return (AT + number, request_id, request_id, path, query, 200, 0, 1024 + number, 3217 + number, 2810)


def words(principal: str = "alice") -> dict[str, Any]:
    return {"method": "GET", "decision": "allow", "route": "orders", "principal": principal, "revision": 3}


def turn(
    numbers: Iterable[int], principals: Sequence[str] = ("alice", "bob"), **told: Any
) -> list[Repeating]:
    """Requests of one turn, by the principals in turn."""
    by = [principals[number % len(principals)] for number in numbers]
    return [
        (principal, principal, occurrence(number, **told), b"")
        for number, principal in zip(numbers, by, strict=True)
    ]


def record_turn(
    recorder: Recorder, count: int, principals: Sequence[str] = ("alice", "bob"), **told: Any
) -> None:
    """`count` requests of one turn, all of them plain."""
    assert recorder.record_turn(words, turn(range(count), principals, **told)) == (True, [])
