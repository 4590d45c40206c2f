"""Tampering with the lines of files is found and named, in whatever order and form they come."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from django.core.management import CommandError, call_command

from auditlog.configuration import signing_key
from auditlog.evidence import verify_database, verify_files
from auditlog.reader import next_batch
from auditlog.segment import Frame
from auditlog.sinks.database import DatabaseSink
from auditlog.sinks.sink import json_line
from auditlog.verification import Finding, Summary
from tests.auditlog.conftest import REQUEST, MakeRecorder

pytestmark = pytest.mark.django_db


def verify_lines(tmp_path: Path, lines: list[bytes]) -> set[str]:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return {finding.kind for finding in verify_files([path], [signing_key()], Summary(), lambda count: None)}


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (lambda lines: lines, set()),
        (lambda lines: lines + lines[3:6], set()),
        (lambda lines: lines[:5] + lines[6:], {"removed"}),
        (lambda lines: [line.replace(b"alice", b"mallory") for line in lines], {"altered", "forged"}),
        (lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]], {"reordered"}),
        (lambda lines: [*lines, b"not a record"], {"altered"}),
    ],
    ids=["whole", "delivered twice", "removed", "altered", "reordered", "junk"],
)
def test_file_is_verified_line_by_line(
    chain: list[Frame], tmp_path: Path, tamper: Callable[[list[bytes]], list[bytes]], found: set[str]
) -> None:
    lines = [json_line(frame) for frame in chain]
    assert verify_lines(tmp_path, tamper(lines)) <= found | ({"altered"} if found else set())
    assert (verify_lines(tmp_path, tamper(lines)) != set()) == bool(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[:-66] + line[-66:].upper(),
        lambda line: b" " + line,
        lambda line: line + b" ",
        lambda line: line + b"\r",
        lambda line: line.replace(b",", b", ", 1),
        lambda line: line[:-66] + b"0" * 64 + b'"}',
        lambda line: line[:-20],
        lambda line: line + line,
        lambda line: b"",
        lambda line: line.replace(b'"sequence":7', b'"sequence":7.0'),
        lambda line: line.replace(b'"sequence":7', b'"sequence":1e999'),
        lambda line: line.replace(b'{"schema":1', b'{"schema":1,"schema":1'),
        lambda line: b"[" * 5000,
    ],
    ids=[
        "case", "before", "behind", "cr", "between", "hash", "cut", "joined", "empty", "float", "huge",
        "twice", "deep",
    ],
)  # fmt: skip
def test_any_other_spelling_of_a_line_is_found(
    chain: list[Frame], tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    lines = [json_line(frame) for frame in chain]
    lines[7] = change(lines[7])
    assert "altered" in verify_lines(tmp_path, lines)


def test_broken_line_is_named_by_what_it_still_says(chain: list[Frame], tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = [json_line(frame) + b"\n" for frame in chain]
    record = orjson.loads(lines[7])
    lines[7] = orjson.dumps({name: record[name] for name in record if name != "hash"}) + b"\n"
    path.write_bytes(b"".join(lines))
    altered, removed = verified([path])
    assert (altered.chain, altered.sequence, altered.event_id) == (record["chain"], 7, record["event_id"])
    assert (removed.kind, removed.sequence) == ("removed", 8)


@pytest.fixture
def rotated(chain: list[Frame], tmp_path: Path) -> list[Path]:
    """As the file sink leaves them: the newest lines are in the file without a number."""
    lines = [json_line(frame) + b"\n" for frame in chain]
    paths = [tmp_path / name for name in ("audit.jsonl", "audit.jsonl.1.gz", "audit.jsonl.2.gz")]
    paths[0].write_bytes(b"".join(lines[16:]))
    # A batch that came twice, the first time just before the rotation.
    paths[1].write_bytes(gzip.compress(b"".join(lines[6:16])))
    paths[2].write_bytes(gzip.compress(b"".join(lines[:9])))
    return paths


def verified(paths: list[Path]) -> list[Finding]:
    return list(verify_files(paths, [signing_key()], Summary(), lambda count: None))


def test_rotated_files_verify_together_and_a_missing_one_is_found(rotated: list[Path]) -> None:
    assert verified(rotated) == verified(rotated[::-1]) == []
    assert [(found.kind, found.sequence) for found in verified([rotated[0], rotated[2]])] == [("removed", 16)]


def test_file_that_came_twice_as_a_whole_is_no_finding(
    make_recorder: MakeRecorder, spool: Path, tmp_path: Path
) -> None:
    """As a rotation leaves it that was killed at its end and then done again."""
    recorder = make_recorder(key=signing_key())
    for _ in range(3000):
        recorder.record("request_completed", REQUEST)
    recorder.close()
    lines = [json_line(frame) + b"\n" for frame in next_batch(spool, {}, 10_000).frames]
    paths = [tmp_path / name for name in ("audit.jsonl", "audit.jsonl.1.gz", "audit.jsonl.2.gz")]
    paths[0].write_bytes(b"".join(lines[2500:]))
    for path in paths[1:]:
        path.write_bytes(gzip.compress(b"".join(lines[:2500])))
    assert verified(paths) == []


def test_broken_first_line_leaves_the_files_in_their_order(rotated: list[Path]) -> None:
    rotated[0].write_bytes(rotated[0].read_bytes()[1:])
    assert [(found.kind, found.sequence) for found in verified(rotated)] == [
        ("altered", None),
        ("removed", 17),
    ]


def test_export_is_in_order_though_the_clock_was_set_back(
    make_recorder: MakeRecorder, spool: Path, tmp_path: Path
) -> None:
    recorder = make_recorder(key=signing_key())
    for second in (1, 2, 3, 2, 3, 4):
        recorder.record("request_completed", REQUEST, now=datetime.now(UTC).timestamp() + second)
    recorder.close()
    frames = next_batch(spool, {}, 100).frames
    DatabaseSink().deliver(frames)
    assert list(verify_database([signing_key()], Summary(), lambda count: None)) == []
    path = tmp_path / "export.jsonl"
    call_command("audit", "export", "--output", str(path))
    assert verified([path]) == []
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]))
    assert "reordered" in {found.kind for found in verified([path])}


@pytest.mark.parametrize("fault", ["no such file", "cut off", "a directory", "no lines"])
def test_file_that_can_not_be_verified_is_named(rotated: list[Path], fault: str, tmp_path: Path) -> None:
    if fault == "no such file":
        rotated[1].unlink()
    elif fault == "cut off":
        rotated[1].write_bytes(rotated[1].read_bytes()[:-12])
    elif fault == "a directory":
        rotated[1] = tmp_path
    else:
        rotated[1].write_bytes(bytes(range(256)) * 40)
    names = "|".join((rotated[1].name, "findings"))
    with pytest.raises(CommandError, match=names):
        call_command("audit", "verify", "--file", *map(str, rotated))
