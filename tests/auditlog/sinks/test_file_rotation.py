"""A file that can't be rotated is no outage of the sink: what is written stays written once."""

import gzip
import json
from pathlib import Path

import orjson

from auditlog.sinks.file import FileSink
from tests.auditlog.frames import make_frames
from tests.services.root_rights import without_root_rights


def held(directory: Path) -> list[str]:
    """Event ids of all files, the oldest first."""
    archives = sorted(directory.glob("audit.jsonl.*.gz"), reverse=True)
    texts = [gzip.decompress(path.read_bytes()) for path in archives]
    current = directory / "audit.jsonl"
    texts += [current.read_bytes()] if current.exists() else []
    return [json.loads(line)["event_id"] for text in texts for line in text.splitlines()]


def test_directory_that_forbids_rotation_keeps_each_record_once(tmp_path: Path) -> None:
    directory = tmp_path / "out"
    sink = FileSink(directory / "audit.jsonl", 1000, 3, fsync=False)
    first, second, third = make_frames(1), make_frames(10), make_frames(1)
    sink.deliver(first)
    directory.chmod(0o500)
    try:
        with without_root_rights():
            sink.deliver(second)
    finally:
        directory.chmod(0o700)
    assert sorted(path.name for path in directory.iterdir()) == ["audit.jsonl"]
    # Once it is possible again, and the time for another attempt has come.
    sink._rotate_not_before = 0.0
    sink.deliver(third)
    assert (directory / "audit.jsonl.1.gz").exists()
    ids = [orjson.loads(frame.body)["event_id"] for frame in first + second + third]
    assert held(directory) == ids
    sink.close()


def test_rotation_that_broke_off_loses_nothing(tmp_path: Path) -> None:
    # Killed between the renaming of the file and its compression.
    before = make_frames(10)
    FileSink(tmp_path / "audit.jsonl", 0, 3, fsync=False).deliver(before)
    (tmp_path / "audit.jsonl").rename(tmp_path / "audit.jsonl.rotated")
    (tmp_path / ".audit.jsonl.gz.tmp").write_bytes(b"a part of it")
    after, last = make_frames(10), make_frames(10)
    sink = FileSink(tmp_path / "audit.jsonl", 1000, 3, fsync=False)
    sink.deliver(after)
    sink.deliver(last)
    ids = [orjson.loads(frame.body)["event_id"] for frame in before + after + last]
    assert held(tmp_path) == ids
    assert not (tmp_path / "audit.jsonl.rotated").exists()
    assert not (tmp_path / ".audit.jsonl.gz.tmp").exists()
