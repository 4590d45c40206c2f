"""YAML becomes plain values with lines, within bounds."""

from datetime import UTC, datetime

import pytest

from routing.configuration_file import yaml_values
from routing.configuration_file.problems import InvalidConfiguration
from routing.configuration_file.yaml_values import read_yaml


def problem_of(text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InvalidConfiguration) as raised:
        read_yaml(data)
    return "\n".join(problem.located("f") for problem in raised.value.problems)


def test_values_remember_the_line_of_their_key() -> None:
    root = read_yaml(b"a: 1\nb:\n  - x\n  - y\n")
    assert root.content["a"][0] == 1
    assert root.content["b"][0] == 2
    assert [item.line for item in root.content["b"][1].content] == [3, 4]


def test_a_time_without_a_zone_is_utc() -> None:
    root = read_yaml(b"a: 2027-01-01 10:00:00\nb: 2027-01-01\nc: 2027-01-01T02:00:00+02:00\n")
    times = [value.content for _, value in root.content.values()]
    assert times == [datetime(2027, 1, 1, hour, tzinfo=UTC) for hour in (10, 0, 0)]


def test_an_alias_stands_for_its_value() -> None:
    root = read_yaml(b"a: &x [1, 2]\nb: *x\n")
    assert [value.content for value in root.content["b"][1].content] == [1, 2]


@pytest.mark.parametrize(
    "text, problem",
    [
        pytest.param("", "f:1: the file is empty", id="empty"),
        pytest.param("a: [", "f:2: ", id="unfinished"),
        pytest.param("a: 1\nb: \xff".encode("latin-1"), "f:2: the file is not UTF-8", id="not UTF-8"),
        pytest.param("a: 1\na: 2", "f:2: a: this key stands in line 1 already", id="repeated key"),
        pytest.param("1: a", "f:1: a key must be text; this one is integer", id="key not text"),
        pytest.param("a: 1\n---\nb: 2", "f:2: one document per file", id="two documents"),
        pytest.param("a: !!python/object:os.system x", "f:1: the tag ", id="object tag"),
        pytest.param("a: !!python/tuple [x]", "f:1: the tag ", id="list tag"),
        pytest.param("a: !secret x", "f:1: the tag !secret ", id="private tag"),
        pytest.param("a: *x", "f:1: no anchor &x stands before this alias", id="no anchor"),
        pytest.param("a: &x [*x]", "f:1: *x stands within the value", id="circle of aliases"),
        pytest.param("a: &x {b: 1}\nc:\n  <<: *x", "f:3: merge keys", id="merge key"),
        pytest.param("a: .nan", "f:1: '.nan' can't be read as number", id="not a number"),
        pytest.param("a: 2027-13-45", "f:1: '2027-13-45' can't be read as a time", id="no such day"),
        pytest.param("a: " + "9" * 5000, "can't be read as integer", id="endless integer"),
        pytest.param('a: "x\\0y"', "f:1: ", id="NUL"),
        pytest.param('a: "\\e[31m"', "f:1: ", id="terminal escape"),
        pytest.param("a: \x01", "f:1: ", id="control character"),
        pytest.param("[" * 100_000, "f:1: nested deeper than 32 levels", id="deep list"),
        pytest.param("{a: " * 100_000, "f:1: nested deeper than 32 levels", id="deep mapping"),
    ],
)
def test_what_the_file_can_not_hold_is_refused_with_its_line(text: str | bytes, problem: str) -> None:
    assert problem in problem_of(text)


def test_every_repeated_key_is_reported() -> None:
    assert problem_of("a: 1\na: 2\nb: 1\nb: 2").count("\n") == 1


def test_aliases_can_not_grow_past_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_values, "MAXIMUM_VALUES", 10_000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 10000 values, aliases expanded" in problem_of("\n".join(lines))


def test_a_file_past_the_size_cap_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_values, "MAXIMUM_BYTES", 10)
    assert "the file has 11 bytes; at most 10 are read" in problem_of("a: 34567890")
