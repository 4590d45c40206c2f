"""What a client sends neither breaks a line nor forges a record, and its secrets stay out."""

import re
import uuid
from dataclasses import replace
from typing import Any

import orjson
import pytest

from auditlog.escaping import escape_text
from auditlog.record import RecordEncoder
from auditlog.redaction import REMOVED, Redaction

REDACTION = Redaction(salt=b"salt")
SECRET = "gw_abcdefghij_" + "Zq9-_" * 8
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


def encoded(redaction: Redaction = REDACTION, event: str = "request_completed", **fields: Any) -> bytes:
    encoder = RecordEncoder("node-1", uuid.UUID("018f3f3e-7c52-7f0a-9a3e-3f2a7a1b2c3d"), redaction)
    return encoder.encode(event, fields, now=1_700_000_000.0, sequence=5)


def record(redaction: Redaction = REDACTION, **fields: Any) -> dict[str, Any]:
    return orjson.loads(encoded(redaction, **fields))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("plain text", "plain text"),
        ("line\nbreak\r\n", r"line\x0abreak\x0d\x0a"),
        ("back\\slash", r"back\\slash"),
        ("\x1b[31m red \x7f", r"\x1b[31m red \x7f"),
        ("\u202e reversed \u2028", r"\u202e reversed \u2028"),
        ("\U000e0041 tag", r"\U000e0041 tag"),
        ("héllo – 世界", "héllo – 世界"),
        (b"bytes \xff\xc3\xa9", r"bytes \xffé"),
        ("\ud800", r"\ud800"),
        ("nul\x00", r"nul\x00"),
        ("x" * 20, "x" * 10 + "…[20]"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_text_is_escaped_and_cut(sent: str | bytes, kept: str) -> None:
    assert escape_text(sent, limit=10 if len(sent) == 20 and sent[0] == "x" else 100) == kept


@pytest.mark.parametrize("field", ["path", "user_agent", "host", "request_id", "method", "principal", "rule"])
@pytest.mark.parametrize(
    "sent",
    ['"}\n{"event":"forged', "a\r\nb", "\x00\x1b]0;title\x07", "\u2028\u2029\x85", "\udcff\ud800", "é\\"],
    ids=["quote", "crlf", "terminal", "separators", "surrogates", "backslash"],
)
def test_strange_text_in_any_field_stays_within_one_line(field: str, sent: str) -> None:
    line = encoded(**{field: sent})
    assert len(line.decode().splitlines()) == 1
    assert orjson.loads(line)["event"] == "request_completed"
    assert orjson.loads(line)[field].isprintable()


def test_long_user_agent_is_cut_and_says_so() -> None:
    kept = record(user_agent=b"A" * 8192)["user_agent"]
    assert kept == "A" * 512 + "…[8192]"


@pytest.mark.parametrize("size", [513, 1025, 1600, 3000, 100_000])
def test_no_record_grows_with_what_a_client_sends(size: int) -> None:
    fields = dict.fromkeys(("path", "user_agent", "host", "request_id", "method"), "\x01" * size)
    assert len(encoded(**fields)) < 16_000


def test_bytes_that_are_no_utf8_are_kept_as_escapes() -> None:
    assert record(user_agent=b"agent \xff\xfe")["user_agent"] == r"agent \xff\xfe"


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (b"limit=50&state=completed", "limit=50&state=completed"),
        (b"api_key=abc&limit=5", f"api_key={REMOVED}&limit=5"),
        (b"secretonly", REMOVED),
        (SECRET.encode() + b"=1", REMOVED),
        (b"limit=" + SECRET.encode(), f"limit=gw_abcdefghij_{REMOVED}"),
        (b"na%6de=x", REMOVED),
        (b"q=a&&b", f"q={REMOVED}&{REMOVED}"),
        (b"", ""),
        (b"limit=\xff", "limit=ÿ"),
        (b"limit=" + SECRET.encode().replace(b"_", b"%255F", 2), f"limit=gw_abcdefghij_{REMOVED}"),
        (b"page_no=1&filter[x1]=2&_t=3", f"page_no={REMOVED}&filter[x1]={REMOVED}&{REMOVED}"),
        (b"Zq9kXabcPQ=1&h3ll0w0rld=1&" + b"abcd9" * 4 + b"=1", f"{REMOVED}&{REMOVED}&{REMOVED}"),
    ],
)
def test_query_keeps_values_of_allowed_names_alone(query: bytes, kept: str) -> None:
    assert record(query=query)["query"] == kept


@pytest.mark.parametrize(
    "field", ["path", "user_agent", "host", "request_id", "trace_id", "method", "reason"]
)
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"/x/{SECRET}/y", SECRET[14:]),
        (f"/x/{JWT}", JWT[5:]),
        ("a Bearer abcdef0123456789 b", "abcdef0123456789"),
        ("BASIC dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("/login?password=hunter2hunter2", "hunter2hunter2"),
        ("/p/token%3Dhunter2hunter2", "hunter2hunter2"),
        ("http://user:hunter2hunter2@host/", "hunter2hunter2"),
        ("mail bob.smith@example.com", "bob.smith"),
        ("/users/bob.smith%40example.com", "bob.smith"),
        (SECRET.replace("_", "%5F", 2), SECRET[14:]),
        (SECRET.replace("_", "%255f", 2), SECRET[14:]),
        ("%67%77%5F" + SECRET[3:], SECRET[14:]),
        (JWT.replace(".", "%252E"), "c2lnbmF0dXJl"),
        (JWT.lower(), "c2lnbmf0dxjl"),
        ("token%25253Dhunter2hunter2", "hunter2hunter2"),
        ("BeArEr abcdef0123456789", "abcdef0123456789"),
        ("bearer\tabcdef0123456789", "abcdef0123456789"),
        ("X-API-Key: hunter2hunter2", "hunter2hunter2"),
        ('{"Password" : "hunter2hunter2"}', "hunter2hunter2"),
        ("client_secret=hunter2hunter2", "hunter2hunter2"),
        ("http://:hunter2hunter2@host/", "hunter2hunter2"),
        ("http://hunter2hunter2@host/", "hunter2hunter2"),
    ],
    ids=[
        "key",
        "jwt",
        "bearer",
        "basic",
        "password",
        "encoded",
        "userinfo",
        "mail",
        "mail-encoded",
        "key-encoded",
        "key-twice-encoded",
        "letters-encoded",
        "jwt-twice-encoded",
        "jwt-lower-case",
        "thrice-encoded",
        "mixed-case",
        "tab",
        "header",
        "json",
        "client-secret",
        "no-user",
        "user-alone",
    ],
)
def test_secret_is_taken_out_of_every_field(field: str, text: str, secret: str) -> None:
    assert secret.encode() not in encoded(**{field: text})
    assert secret.encode() not in encoded(**{field: text.encode()})


@pytest.mark.parametrize("method", ["get", "HUNTERTWO", "M-SECRET", "GET\n"])
def test_method_that_nobody_knows_is_not_kept(method: str) -> None:
    line = encoded(method=method, reason=f"method {method!r}")
    assert orjson.loads(line)["method"] == REMOVED
    assert method.encode() not in line


def test_secret_is_taken_out_of_nested_details() -> None:
    line = encoded(event="principal_changed", details={"new": [SECRET, {"a": JWT}], SECRET: 1})
    assert SECRET[14:].encode() not in line
    assert JWT[5:].encode() not in line


def test_bytes_that_are_no_text_beside_a_hidden_secret_do_no_harm() -> None:
    found = REDACTION.text(SECRET.replace("_", "%5F") + "%FF%00")
    assert SECRET[14:30] not in found
    assert found.encode()


def test_secret_right_after_a_harmless_twin_is_not_missed() -> None:
    encoder = RecordEncoder("n", uuid.UUID("018f3f3e-7c52-7f0a-9a3e-3f2a7a1b2c3d"), REDACTION)
    for agent in (b"curl", SECRET.encode(), b"curl", SECRET.encode()):
        line = encoder.encode("request_completed", {"user_agent": agent}, 1.0, 1)
        assert SECRET[14:].encode() not in line


@pytest.mark.parametrize(
    ("action", "kept"),
    [
        ("keep", r"/u/bob@example\.com"),
        ("hash", "/u/h:[0-9a-f]{24}"),
        ("truncate", r"/u/b…@example\.com"),
        ("drop", r"/u/\*\*\*"),
    ],
)
def test_mail_follows_its_policy(action: str, kept: str) -> None:
    assert re.fullmatch(kept, record(replace(REDACTION, email=action), path="/u/bob@example.com")["path"])


def test_hash_of_an_address_is_the_same_however_it_is_written_and_differs_by_salt() -> None:
    first = record(path="/u/bob@example.com")["path"]
    assert first == record(path="/u/BOB%40example.com")["path"]
    assert first != record(Redaction(salt=b"other"), path="/u/bob@example.com")["path"]


@pytest.mark.parametrize(
    ("action", "address", "kept"),
    [
        ("keep", "10.1.2.3", "10.1.2.3"),
        ("truncate", "10.1.2.3", "10.1.2.0"),
        ("truncate", "2001:db8:1:2::3", "2001:db8:1::"),
        ("truncate", "nonsense", REMOVED),
        ("drop", "10.1.2.3", None),
    ],
)
def test_client_address_follows_its_policy(action: str, address: str, kept: str | None) -> None:
    assert record(replace(REDACTION, ip=action), client_ip=address)["client_ip"] == kept


def test_path_segments_that_match_a_pattern_follow_their_policy() -> None:
    redaction = replace(REDACTION, path="drop", path_patterns=(re.compile(r"\d{6,}"),), looks_always=True)
    assert record(redaction, path="/patients/123456/notes/12")["path"] == f"/patients/{REMOVED}/notes/12"


def test_configured_secret_form_is_taken_out() -> None:
    redaction = replace(REDACTION, extra_forms=(re.compile("sk_live_[a-z]+"),), looks_always=True)
    assert record(redaction, path="/x/sk_live_abc/y")["path"] == f"/x/{REMOVED}/y"


def test_long_text_without_a_match_costs_linear_time() -> None:
    import time

    started = time.perf_counter()
    for _ in range(20):
        record(path="a.b-" * 500 + "@" + "a-" * 500, user_agent="%40" * 2000)
    assert time.perf_counter() - started < 2


def test_address_is_redacted_though_another_thread_forgets_it_at_once() -> None:
    class Forgetful(dict[str, str | None]):
        def __setitem__(self, address: str, redacted: str | None) -> None:
            """Emptied between this and the next look."""

    redaction = Redaction(salt=b"salt", ip="truncate")
    object.__setattr__(redaction, "_addresses", Forgetful())
    assert redaction.address("192.0.2.77") == "192.0.2.0"
