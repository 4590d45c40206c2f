"""Lists that are edited as text or as ticks."""

import pytest

from accounts.forms import ChoiceListField, TextListField, list_field
from accounts.models import ApiKey, Grant


@pytest.mark.parametrize(
    "text, items",
    [
        ("", []),
        ("a", ["a"]),
        ("a, b\nc", ["a", "b", "c"]),
        (" a ,, b \r\n\r\n c,", ["a", "b", "c"]),
    ],
)
def test_a_list_is_typed_one_a_line_or_with_commas(text: str, items: list[str]) -> None:
    field = TextListField(required=False)
    assert field.clean(text) == items
    assert field.clean(field.prepare_value(items)) == items


def test_a_list_that_is_typed_in_another_way_has_not_changed() -> None:
    field = TextListField(required=False)
    assert not field.has_changed(["a", "b"], "a,b")
    assert field.has_changed(["a", "b"], "b,a")


def test_what_was_typed_stays_when_it_is_wrong() -> None:
    assert TextListField().prepare_value("a,,b") == "a,,b"


def test_a_stored_item_outside_the_choices_can_be_ticked() -> None:
    field = ChoiceListField(choices=[("GET", "GET")], required=False)
    field.prepare_value(["GET", "PROPFIND"])
    assert [choice for choice, _ in field.choices] == ["GET", "PROPFIND"]
    assert field.clean(["PROPFIND"]) == ["PROPFIND"]


def test_the_field_of_a_column_is_named_and_required_as_the_column_is() -> None:
    networks = list_field(ApiKey._meta.get_field("allowed_cidrs"))
    assert (networks.label, networks.required, networks.initial) == ("Allowed networks", False, [])
    actions = list_field(Grant._meta.get_field("actions"), ["read"])
    assert actions.required
    assert isinstance(actions, ChoiceListField)
