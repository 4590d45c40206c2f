"""A record that is written from remembered parts says the same as one that is written at once."""

import re
import uuid
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog import block
from auditlog.record import RecordEncoder
from auditlog.redaction import Redaction
from auditlog.repeating import Repeating, RepeatingRecords, fields_of
from auditlog.segment import Frame
from routing.access_log import AccessLog
from routing.pipeline.exchange import Exchange
from routing.record import Recorder, _audit_fields
from tests.routing.rows import compiled, route_row, service_row

CHAIN = uuid.UUID("018f3f3e-7c52-7f0a-9a3e-3f2a7a1b2c3d")
REDACTIONS = {
    "usual": Redaction(salt=b"salt"),
    "all-that-can-be": Redaction(salt=b"salt", principal="hash", ip="truncate"),
    "own-patterns": Redaction(
        salt=b"salt",
        extra_forms=(re.compile(r"[0-9a-f]{32}"), re.compile(r"secret-\w+")),
        looks_always=True,
    ),
}

SECRET = "gw_abcdefghij_" + "Zq9-_" * 8
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
HOSTILE = st.sampled_from(
    [
        "",
        "plain",
        'quote"',
        "back\\slash",
        "é世界",
        "\u2028\x85",
        "line\r\nbreak",
        "\x00\x1b[31m\x7f",
        SECRET,
        JWT,
        f"Bearer {JWT}",
        "alice@example.com",
        "token=hunter2",
        "api_key%3Dhunter2",
        "secret-word",
        "deadbeef" * 4,
        "x" * 3000,
        "</script>",
        "{}",
    ]
)
WORDS = st.lists(HOSTILE, min_size=1, max_size=3).map("/".join)
BYTES = WORDS.map(lambda text: text.encode("utf-8", "surrogateescape"))
IDS = st.one_of(st.uuids().map(str), WORDS)


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    method = draw(st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]))
    made = Exchange(method, b"/" + draw(BYTES), draw(BYTES))
    made.request_id, made.trace_id = draw(IDS), draw(IDS)
    if draw(st.booleans()) or made.trace_id is made.request_id:
        # One object for both is the gateway's own.
        made.trace_id = made.request_id = str(draw(st.uuids()))
    made.host = draw(WORDS)
    made.user_agent = draw(BYTES)[:512]
    made.client_ip = draw(st.sampled_from(["192.0.2.7", "2001:db8::1", ""]))
    made.revision = draw(st.integers(0, 3))
    made.rule = draw(st.sampled_from(["access:public", "grant:7", "permission:*:*"]))
    made.grant_id = 7 if made.rule == "grant:7" else None
    made.action = "read"
    made.route = compiled(
        route_row(draw(st.sampled_from(["orders", 'od"d'])), "/"), service_row(1, "http://127.0.0.1:1")
    )
    made.target = draw(st.sampled_from(["", "http://127.0.0.1:1"]))
    made.status = draw(st.sampled_from([200, 204, 404, 599]))
    made.bytes_in = draw(st.integers(0, 2**40))
    made.bytes_out = draw(st.integers(0, 2**40))
    made.upstream_seconds = draw(st.none() | st.floats(0, 1e4))
    made.started_at = 1_700_000_000.25
    return made


class Both:
    """Encodes one exchange both ways, remembering across exchanges as a process does."""

    def __init__(self, redaction: Redaction) -> None:
        self.encoder = RecordEncoder("node-1", CHAIN, redaction)
        self.notes = RepeatingRecords(self.encoder)
        self.plain = RecordEncoder("node-1", CHAIN, redaction)
        self.lines: list[tuple[bytes, bytes]] = []
        self._exchange: Exchange | None = None

    def record(self, made: Exchange) -> None:
        self._exchange = made
        Recorder(None, self._never, audit_turn=self._repeating).record(made)

    def _never(self, event: str, fields: dict[str, Any]) -> None:
        raise AssertionError("this request repeats")

    def _repeating(self, repeated: Any, requests: Sequence[Repeating]) -> list[int]:
        assert self._exchange is not None
        ((_, subject, occurrence, query),) = requests
        now = occurrence[0] / 1_000_000
        alone, words, which, occurrences = self.notes.note(repeated, requests)
        if not alone:
            body = block.encode(self.encoder.source(), 5, words, which, occurrences)
            (record,) = block.expand(Frame(bytes(32), body))
            line = record.body
        else:
            line = self.encoder.encode(
                "request_completed", repeated(subject) | fields_of(occurrence, query), now, 5
            )
        fields = _audit_fields(self._exchange, None, occurrence[8] / 1000)
        self.lines.append((line, self.plain.encode("request_completed", fields, now, 5)))
        return alone


def _said(line: bytes) -> dict[str, Any]:
    """What a record says, but for the microsecond that a float of seconds is not exact to."""
    said: dict[str, Any] = orjson.loads(line)
    said.pop("block", None)
    said["time"] = said["time"][:-4]
    if "upstream_ms" in said:
        said["upstream_ms"] = pytest.approx(said["upstream_ms"], abs=0.0011)
    return said


@pytest.mark.parametrize("redaction", REDACTIONS.values(), ids=REDACTIONS.keys())
def test_remembered_parts_say_what_a_record_written_at_once_says(redaction: Redaction) -> None:
    both = Both(redaction)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(exchanges(), min_size=1, max_size=4), st.booleans())
    def compare(several: list[Exchange], again: bool) -> None:
        # The same facts again: from what is remembered by then.
        for made in several + several if again else several:
            made.recorded = False
            both.record(made)
            line, expected = both.lines.pop()
            assert len(line.splitlines()) == 1
            assert _said(line) == _said(expected)
            for secret in (SECRET, JWT):
                assert secret.encode() not in line

    compare()


FACTS: dict[str, Any] = {
    "method": "DELETE",
    "path": b"/other",
    "query": b"page=2",
    "host": "other.test",
    "client_ip": "192.0.2.8",
    "user_agent": b"other",
    "revision": 2,
    "rule": "permission:*:*",
    "request_id": "other",
    "trace_id": "other",
    "target": "http://127.0.0.1:2",
    "status": 201,
    "bytes_in": 1,
    "bytes_out": 1,
    "upstream_seconds": 0.5,
}


@pytest.mark.parametrize("name", FACTS)
def test_fact_that_differs_is_recorded_as_it_is(name: str) -> None:
    """Right behind a request that is the same in everything else."""
    both = Both(REDACTIONS["usual"])
    for changed in (False, True, False):
        made = Exchange("GET", b"/x", b"page=1")
        made.route = compiled(route_row("x", "/"), service_row(1, "http://127.0.0.1:1"))
        made.host, made.client_ip, made.rule, made.revision = "a.test", "192.0.2.7", "access:public", 1
        made.user_agent, made.target, made.action = b"agent", "http://127.0.0.1:1", "read"
        made.request_id = made.trace_id = str(CHAIN)
        made.status, made.started_at = 200, 1_700_000_000.0
        if changed:
            setattr(made, name, FACTS[name])
        both.record(made)
        line, expected = both.lines[-1]
        assert _said(line) == _said(expected)
    first, second, third = (_without_duration(line) for line, _ in both.lines)
    assert first == third != second


def _without_duration(line: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(line)
    return {name: fields[name] for name in fields if name not in ("duration_ms", "time", "event_id", "block")}


@settings(max_examples=300, deadline=None)
@given(exchanges())
def test_plain_line_of_the_access_log_is_the_one_that_any_event_gets(made: Exchange) -> None:
    redaction = REDACTIONS["usual"]
    notes = RepeatingRecords(RecordEncoder("node-1", CHAIN, redaction))
    log = AccessLog(redact=redaction.log_words)
    Recorder(log, lambda event, fields: None, audit_turn=lambda *turn: notes.note(*turn).alone).record(made)
    (noted,) = log._noted
    line = noted if isinstance(noted, str) else log._line(noted)
    now = orjson.loads(line)
    words = (made.request_id, made.method, made.path.decode("latin-1"), made.status, made.client_ip)
    other = AccessLog(redact=redaction.log_words)
    other.add(1.0, "request_completed", *words, now["duration_ms"])
    expected = orjson.loads(other._line(other._noted[0]))
    assert now | {"timestamp": ""} == expected | {"timestamp": ""}
    assert len(line.splitlines()) == 1
    assert SECRET not in line
