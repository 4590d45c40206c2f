"""An export holds every record of its period, whatever the format, and never all of them in memory."""

import csv
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from tests.auditlog.installation import MANAGE, Installation
from tests.auditlog.spooled import spooled_records

# A base of records like those of a gateway, and some of every other kind.
FILL = """
import sys
from auditlog.sinks.database import DatabaseSink
from tests.auditlog.frames import make_frames
count = int(sys.argv[-1]) if sys.argv[-1].isdecimal() else {count}
sink = DatabaseSink()
fields = dict(principal="alice", route="orders", path='/é "x" \\\\ =1+1', client_ip="10.0.0.1", bytes_out=5,
              duration_ms=1.25, revision=7, user_agent="agent " * 60)
frames = make_frames(count, **fields)
for start in range(0, count, 1000):
    sink.deliver(frames[start:start + 1000])
sink.deliver(make_frames(3, event="grant_changed", changes={{"actions": [["read"], ["write"]]}}, origin="admin"))
sink.deliver(make_frames(2, path="=cmd()", duration_ms="no number", status=None))
"""
pytestmark = pytest.mark.timeout(300)
SMALL, LARGE = 3_000, 40_000


@pytest.fixture(scope="module")
def installations(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Installation]:
    """A small log and a large one."""
    made = {}
    for count in (SMALL, LARGE):
        directory = tmp_path_factory.mktemp(f"export{count}")
        made[count] = Installation(directory, f"sqlite:///{directory / 'log.sqlite3'}")
        made[count].manage("shell", "-v", "0", "-c", FILL.format(count=count))
    return made


def export(installation: Installation, form: str, *options: str) -> Path:
    output = installation.directory / f"export.{form}"
    installation.manage("audit", "export", "--format", form, "--output", str(output), *options)
    return output


@pytest.fixture(scope="module")
def lines(installations: dict[int, Installation]) -> list[dict[str, Any]]:
    text = export(installations[SMALL], "jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_parquet_holds_what_the_lines_hold(
    installations: dict[int, Installation], lines: list[dict[str, Any]]
) -> None:
    table = parquet.read_table(export(installations[SMALL], "parquet"))
    assert table.num_rows == len(lines) == SMALL + 5
    for row, line in zip(table.to_pylist(), lines, strict=True):
        other = json.loads(row.pop("other") or "{}")
        told = {name: value for name, value in row.items() if value is not None} | other
        # A number's column has no place for what is none; the lines keep it.
        wanted = {
            name: value
            for name, value in line.items()
            if value is not None and (name, value) != ("duration_ms", "no number")
        }
        assert told == wanted


def test_parquet_has_types_to_reckon_with(installations: dict[int, Installation]) -> None:
    schema = parquet.read_schema(export(installations[SMALL], "parquet"))
    assert {schema.field(name).type for name in ("status", "sequence", "bytes_out")} == {pyarrow.int64()}
    assert schema.field("duration_ms").type == pyarrow.float64()
    assert schema.field("path").type == pyarrow.string()


def test_csv_holds_what_the_lines_hold_and_no_formula(
    installations: dict[int, Installation], lines: list[dict[str, Any]]
) -> None:
    with export(installations[SMALL], "csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["hash"] for row in rows] == [line["hash"] for line in lines]
    assert [row["event_id"] for row in rows] == [line["event_id"] for line in lines]
    assert {row["path"] for row in rows} == {lines[0]["path"], "'=cmd()", ""}
    assert [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "@"))] == []


def test_period_is_obeyed_by_every_format(
    installations: dict[int, Installation], lines: list[dict[str, Any]]
) -> None:
    since, until = lines[100]["time"], lines[200]["time"]
    period = ("--since", since, "--until", until)
    wanted = [line["event_id"] for line in lines if since <= line["time"] < until]
    table = parquet.read_table(export(installations[SMALL], "parquet", *period))
    assert wanted
    assert abs(table.num_rows - len(wanted)) <= 1  # bounds are milliseconds
    assert set(table.column("event_id").to_pylist()) & set(wanted) == set(
        table.column("event_id").to_pylist()
    )


def test_missing_package_is_named_and_the_file_that_is_there_kept(
    installations: dict[int, Installation], tmp_path: Path
) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('not installed')\n")
    output = tmp_path / "export.parquet"
    output.write_text("of yesterday")
    environment = dict(installations[SMALL].environment)
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{environment['PYTHONPATH']}"
    command = [*MANAGE, "audit", "export", "--format", "parquet", "--output", str(output)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install pyarrow" in done.stderr
    assert "Traceback" not in done.stderr
    assert output.read_text() == "of yesterday"


def peak_bytes(installation: Installation, form: str) -> int:
    """The most memory that an export takes."""
    command = [*MANAGE, "audit", "export", "--format", form, "--output", os.devnull]
    process = subprocess.Popen(command, env=installation.environment, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_memory_does_not_grow_with_the_log(installations: dict[int, Installation], form: str) -> None:
    size = (installations[LARGE].directory / "log.sqlite3").stat().st_size
    assert size > 40_000_000
    # A chunk of ten thousand records is what Parquet holds.
    allowed = size // 2 if form == "parquet" else size // 10
    assert peak_bytes(installations[LARGE], form) - peak_bytes(installations[SMALL], form) < allowed


def test_terminal_is_told_how_far_it_is(installations: dict[int, Installation]) -> None:
    leader, follower = pty.openpty()
    command = [*MANAGE, "audit", "export", "--format", "parquet", "--output", os.devnull]
    with subprocess.Popen(command, env=installations[SMALL].environment, stderr=follower) as process:
        os.close(follower)
        told = b""
        try:
            while piece := os.read(leader, 4096):
                told += piece
        except OSError:
            pass  # the other end is closed
    os.close(leader)
    assert process.returncode == 0
    assert b"2000 exported" in told
    assert f"{SMALL + 5} records exported".encode() in told


def test_export_that_breaks_off_is_recorded_all_the_same(installations: dict[int, Installation]) -> None:
    installation = installations[SMALL]
    before = len(spooled_records(installation.spool, "audit_exported"))
    command = [*MANAGE, "audit", "export", "--since", "2020-01-01"]
    with subprocess.Popen(command, env=installation.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "request_completed"
        process.stdout.close()
    exported = spooled_records(installation.spool, "audit_exported")[before:]
    (told,) = exported
    assert (told["count"], told["format"], told["since"]) == (None, "jsonl", "2020-01-01T00:00:00+00:00")
