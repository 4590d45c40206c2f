"""Reading typed fields: what is taken, what is refused, and that all mistakes are named at once."""

import pytest

from examples.errors import InvalidFields
from examples.fields import Fields


def wrong_fields(fields: Fields) -> list[str]:
    with pytest.raises(InvalidFields) as refusal:
        fields.check()
    return list(refusal.value.details["fields"])


def test_every_wrong_field_is_named_at_once() -> None:
    fields = Fields({"a": 0, "b": [], "zz": 1}, ["a", "b", "c"])
    fields.integer("a", 5, 1, 9)
    fields.text("b", "x", longest=5)
    fields.boolean("c", None)
    assert sorted(wrong_fields(fields)) == ["a", "b", "c", "zz"]


def test_default_is_taken_when_the_field_is_absent_but_not_when_it_is_null() -> None:
    assert Fields({}, ["a"]).integer("a", 5, 1, 9) == 5
    fields = Fields({"a": None}, ["a"])
    fields.integer("a", 5, 1, 9)
    assert wrong_fields(fields) == ["a"]


@pytest.mark.parametrize("value", [0, 10, 1.0, "5", True, None, [], 10**30])
def test_integer_of_a_body_is_an_integer_within_its_bounds(value: object) -> None:
    fields = Fields({"a": value}, ["a"])
    fields.integer("a", 5, 1, 9)
    assert wrong_fields(fields) == ["a"]


@pytest.mark.parametrize("text", ["", " 5", "5.0", "0x5", "٥", "5\n", "9" * 30])
def test_integer_of_a_query_is_plain_digits(text: str) -> None:
    fields = Fields({"a": text}, ["a"], from_text=True)
    fields.integer("a", 5, 1, 9)
    assert wrong_fields(fields) == ["a"]


def test_query_text_becomes_the_value_that_it_writes() -> None:
    fields = Fields({"a": "7", "b": "true"}, ["a", "b"], from_text=True)
    assert fields.integer("a", 5, 1, 9) == 7
    assert fields.boolean("b", None) is True
    fields.check()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", True, 10**400, 1.5])
def test_number_is_finite_and_within_its_bounds(value: object) -> None:
    fields = Fields({"a": value}, ["a"])
    fields.number("a", 0.5, 0, 1)
    assert wrong_fields(fields) == ["a"]


def test_text_is_trimmed_before_it_is_measured() -> None:
    assert Fields({"a": "  word "}, ["a"]).text("a", None, longest=4) == "word"
