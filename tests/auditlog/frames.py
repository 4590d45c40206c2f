"""Linked records without a spool, for tests of what takes them."""

import time
import uuid
from typing import Any

from auditlog.chain import START, link
from auditlog.record import RecordEncoder, new_chain_id
from auditlog.redaction import Redaction
from auditlog.segment import Frame

REDACTION = Redaction(salt=b"salt")


def make_frames(
    count: int, start: float | None = None, event: str = "request_completed", **fields: Any
) -> list[Frame]:
    """`count` records of one new chain, a second apart; `number` in a text field is replaced."""
    begin = time.time() - count if start is None else start
    encoder = RecordEncoder("node-1", new_chain_id(begin, uuid.uuid4().int >> 54), REDACTION)
    frames, head = [], START
    for number in range(count):
        given = {"request_id": f"request-{number}", "status": 200, "decision": "allow"} | fields
        body = encoder.encode(event, given, begin + number, number)
        head = link(head, body)
        frames.append(Frame(head, body))
    return frames
