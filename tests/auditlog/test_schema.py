"""docs/audit-schema.json describes what is recorded."""

import json
import re
from pathlib import Path

from auditlog.record import DATA_PLANE_FIELDS, ENVELOPE, SCHEMA_VERSION
from tests.auditlog.conftest import REQUEST, MakeRecorder
from tests.auditlog.spooled import spooled_records

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "audit-schema.json").read_text())
TYPES = {"string": str, "integer": int, "number": (int, float), "null": type(None)}


def test_schema_names_exactly_the_fields_of_a_record() -> None:
    assert set(SCHEMA["properties"]) == {*ENVELOPE, *DATA_PLANE_FIELDS, "hash"}
    assert SCHEMA["properties"]["schema"]["const"] == SCHEMA_VERSION
    assert set(SCHEMA["required"]) == set(ENVELOPE)


def test_recorded_request_is_as_the_schema_says(make_recorder: MakeRecorder, spool: Path) -> None:
    make_recorder().record("request_completed", REQUEST)
    record = spooled_records(spool, "request_completed")[0]
    for name, value in record.items():
        rule = SCHEMA["properties"][name]
        if "type" in rule:
            names = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
            assert any(isinstance(value, TYPES[kind]) for kind in names), name
        if "pattern" in rule:
            assert re.fullmatch(rule["pattern"], value), name
