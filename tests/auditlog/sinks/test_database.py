"""The database sink on PostgreSQL: what it copies in is what was recorded, each record once."""

import json
from pathlib import Path
from typing import Any

from tests.auditlog.installation import Installation

# Delivers records, some of them twice and some that are none, and prints what is in the table.
DELIVER = """
import json, sys
from django.db import connection
from auditlog.rows import COLUMNS, columns_of
from auditlog.segment import Frame
from auditlog.sinks.database import DatabaseSink
from auditlog.sinks.sink import SinkRejected
from tests.auditlog.frames import make_frames

nasty = 'é "quoted" \\\\ back\\tslash\\u2028 \\N{snowman}'
frames = make_frames(3, path=nasty, principal=nasty, client_ip="2001:db8::1", status=503, route="r" * 400)
frames += make_frames(2, start=1_700_000_000.123456, event="service_changed", principal=None, status=None)
frames += make_frames(2, status=2**40, route=17, decision=True)
broken = [Frame(bytes(32), body) for body in (
    b"no json", b"[]", b"{}", frames[0].body.replace(b'"event_id":"0', b'"event_id":"zz'),
    frames[0].body.replace(b'"time":"2', b'"time":"x'), frames[0].body.replace(b'"sequence":0', b'"sequence":{}'),
)]
sink = DatabaseSink()
sink.deliver(frames[:4])
sink.deliver(frames)
try:
    sink.deliver([broken[0], frames[0], *broken[1:]])
except SinkRejected as refusal:
    refused = sorted(refusal.reasons)
with connection.cursor() as cursor:
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    cursor.execute(f"SELECT {names} FROM auditlog_auditrecord ORDER BY event_id")
    stored = cursor.fetchall()
expected = sorted((columns_of(frame) for frame in frames), key=lambda row: row[0])
print(json.dumps({"stored": stored, "expected": expected, "refused": refused}, default=
    lambda value: bytes(value).hex() if isinstance(value, bytes | memoryview) else
    value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if hasattr(value, "strftime") else str(value)))
"""


def test_copied_rows_hold_what_was_recorded_each_once_and_what_is_no_record_is_named(
    tmp_path: Path, postgresql_url: str
) -> None:
    installation = Installation(tmp_path / "data", postgresql_url)
    answer: dict[str, Any] = json.loads(installation.manage("shell", "-v", "0", "-c", DELIVER).stdout)
    assert answer["stored"] == answer["expected"]
    assert len(answer["stored"]) == 7
    assert answer["refused"] == [0, 2, 3, 4, 5, 6]
