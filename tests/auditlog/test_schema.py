"""docs/audit-schema.json describes what is recorded."""

import json
import re
from pathlib import Path

from auditlog.block import MOST_RECORDS, SCHEMA_VERSION
from auditlog.record import CLOSING, DATA_PLANE_FIELDS, ENVELOPE
from tests.auditlog.blocks import record_turn
from tests.auditlog.conftest import REQUEST, MakeRecorder
from tests.auditlog.spooled import spooled_records

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "audit-schema.json").read_text())
TYPES = {"array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}


def test_schema_names_exactly_the_fields_of_a_record() -> None:
    assert set(SCHEMA["properties"]) == {*ENVELOPE, *DATA_PLANE_FIELDS, *CLOSING}
    assert SCHEMA["properties"]["schema"]["const"] == SCHEMA_VERSION
    assert set(SCHEMA["required"]) == set(ENVELOPE)


def test_recorded_request_is_as_the_schema_says(make_recorder: MakeRecorder, spool: Path) -> None:
    recorder = make_recorder()
    recorder.record("request_completed", REQUEST)
    record_turn(recorder, 2)
    records = spooled_records(spool, "request_completed")
    assert ["block" in record for record in records] == [False, True, True]
    for record in records:
        for name, value in record.items():
            rule = SCHEMA["properties"][name]
            if "type" in rule:
                names = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
                assert any(isinstance(value, TYPES[kind]) for kind in names), name
            if "pattern" in rule:
                assert re.fullmatch(rule["pattern"], value), name
    assert SCHEMA["properties"]["block"]["prefixItems"][1]["maximum"] == MOST_RECORDS
