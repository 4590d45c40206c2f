"""The copy of the configuration on disk: whole revisions, one writer, its owner's eyes only."""

import stat
from array import array
from pathlib import Path
from typing import Any

import pytest

from accounts.directory_rows import DirectoryRows
from routing import last_good as module
from routing.configuration_source import Difference, Everything
from routing.last_good import LastGood
from routing.snapshot import Rows
from tests.accounts.directory_rows import grant, key, principal, role
from tests.routing.rows import route_row, rows


def everything(revision: int = 1) -> Everything:
    kept = rows(route_row("orders", "/orders", asset="orders"))
    kept.revision = revision
    people = [principal(1, grants=[grant()]), principal(2)]
    return Everything(kept, DirectoryRows([role(1, "r", "a:read")], people, [key(1), key(2, 2)], array("Q")))


def shown(kept: Everything | None) -> Any:
    if kept is None:
        return None
    directory = kept.directory
    return (
        kept.rows.revision,
        [route["name"] for route in kept.rows.routes],
        directory.roles,
        sorted(directory.principals),
        sorted(directory.credentials),
    )


CHANGE = Difference(
    2,
    principals=[principal(1)],
    gone_principals=[2],
    credentials=[key(3)],
    gone_credentials=[2],
)
AFTER_BASE = shown(everything())
AFTER_CHANGE = (2, ["orders"], [role(1, "r", "a:read")], [principal(1)], [key(1), key(3)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def file(path: Path) -> Path:
    return path / "last_good.jsonl"


def written(path: Path) -> LastGood:
    copy = LastGood(path)
    copy.write_base(everything())
    return copy


def test_what_was_written_is_read(path: Path) -> None:
    copy = written(path)
    assert shown(copy.read()) == AFTER_BASE
    assert copy.append(CHANGE)
    assert shown(LastGood(path).read()) == AFTER_CHANGE


def test_difference_of_routes_and_roles_replaces_them(path: Path) -> None:
    copy = written(path)
    copy.append(Difference(2, rows=Rows(2), roles=[]))
    kept = shown(copy.read())
    assert kept[:3] == (2, [], [])


def test_there_is_nothing_before_the_first_write(path: Path) -> None:
    assert LastGood(path).read() is None


def test_only_the_owner_may_read_it(path: Path, file: Path) -> None:
    written(path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    assert b"gw_test" not in file.read_bytes()


def test_cut_at_any_byte_it_is_a_whole_revision(path: Path, file: Path) -> None:
    copy = written(path)
    base = file.stat().st_size
    copy.append(CHANGE)
    data = file.read_bytes()
    assert len(data) > base
    for size in range(base, len(data)):
        file.write_bytes(data[:size])
        # The last line's end is nothing but its line feed.
        expected = AFTER_CHANGE if size == len(data) - 1 else AFTER_BASE
        assert shown(LastGood(path).read()) == expected, size


def test_what_follows_a_torn_line_does_not_count(path: Path, file: Path) -> None:
    copy = written(path)
    with file.open("ab") as handle:
        handle.write(b'["principal", [1, "half')
    copy.append(CHANGE)
    assert shown(LastGood(path).read()) == AFTER_BASE


def test_after_a_write_that_failed_the_whole_is_written_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = written(path)

    def no_space(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "open", no_space)
    with pytest.raises(OSError, match="No space"):
        copy.append(CHANGE)
    monkeypatch.undo()
    assert not copy.append(CHANGE)
    copy.write_base(everything(revision=9))
    assert copy.append(CHANGE)
    assert shown(copy.read()) == AFTER_CHANGE


def test_without_a_base_of_its_own_a_process_asks_for_one(path: Path) -> None:
    first = written(path)
    assert first._lock is not None
    module.os.close(first._lock)
    restarted = LastGood(path)
    assert not restarted.append(CHANGE)
    restarted.write_base(everything())
    assert restarted.append(CHANGE)


def test_grown_large_it_is_written_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = written(path)
    monkeypatch.setattr(module, "COMPACT_BYTES", 10)
    assert not copy.append(CHANGE)


def test_second_process_reads_and_writes_nothing(path: Path, file: Path) -> None:
    written(path)
    before = file.read_bytes()
    other = LastGood(path)
    other.write_base(everything(revision=99))
    assert other.append(CHANGE)
    assert file.read_bytes() == before
    assert shown(other.read()) == AFTER_BASE


UNREADABLE = {
    "empty": b"",
    "other-format": b'["format", 99]\n["routing", {"revision": 1}]\n["revision", 1]\n',
    "no-routing": b'["format", 1]\n["revision", 1]\n',
    "number": b"5\n",
    "null": b"null\n",
    "short-line": b'["format", 1]\n["principal", [1]]\n["revision", 1]\n',
    "unknown-column": b'["format", 1]\n["routing", {"ghost": 1}]\n["revision", 1]\n',
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_no_configuration_and_no_crash(path: Path, file: Path, data: bytes) -> None:
    path.mkdir()
    file.write_bytes(data)
    assert LastGood(path).read() is None


def test_directory_in_its_place_is_no_crash(path: Path, file: Path) -> None:
    file.mkdir(parents=True)
    assert LastGood(path).read() is None
