"""Form fields that let an administrator edit a JSON list without writing JSON. Decide nothing."""

import re
from collections.abc import Iterable
from typing import Any

from django import forms
from django.db.models import Field
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextareaWidget

_SEPARATORS = re.compile(r"[,\s]+")


class TextListField(forms.CharField):
    """A list of texts, one a line or separated by commas. Its items hold no space and no comma."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", UnfoldAdminTextareaWidget(attrs={"rows": 3}))
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:
        if isinstance(value, list):
            return value
        return [item for item in _SEPARATORS.split(value or "") if item]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.to_python(initial) != self.to_python(data)


class ChoiceListField(forms.MultipleChoiceField):
    """A list of texts to be ticked. An item that isn't among the choices stays tickable if it is stored."""

    widget = UnfoldAdminCheckboxSelectMultipleWidget

    def prepare_value(self, value: Any) -> Any:
        known = {choice for choice, _ in self.choices}
        unknown = [item for item in value or () if item not in known]
        self.choices = [*self.choices, *((item, item) for item in unknown)]
        return value

    def valid_value(self, value: Any) -> bool:
        # The model's own validator says what is wrong, by name.
        return True


def list_field(
    field: Field, choices: Iterable[str] | None = None, **options: Any
) -> TextListField | ChoiceListField:
    """The form field for a model's JSON list."""
    settings = {
        "label": field.verbose_name.capitalize() if field.verbose_name.islower() else field.verbose_name,
        "required": not field.blank,
        "help_text": field.help_text,
        "initial": field.get_default(),
        **options,
    }
    if choices is None:
        return TextListField(**settings)
    return ChoiceListField(choices=[(choice, choice) for choice in choices], **settings)
