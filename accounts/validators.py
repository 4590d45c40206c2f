"""Say in words what is wrong with a list or an expression that an administrator typed."""

import ipaddress
import re
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

ACTIONS = ("read", "write", "delete", "*")

validate_name = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9._@+-]{0,149}\Z",
    "Use letters, digits and . _ @ + - (at most 150, starting with a letter or digit).",
)
_PERMISSION = re.compile(r"\A(\*|[a-z][a-z0-9_-]*):(\*|[a-z][a-z0-9_-]*)\Z")


def validate_text_list(value: Any) -> None:
    """A list of non-empty, distinct strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValidationError("Give a list of non-empty strings.")
    repeated = sorted({item for item in value if value.count(item) > 1})
    if repeated:
        raise ValidationError(f"Listed more than once: {', '.join(repeated)}.")


def validate_permissions(value: Any) -> None:
    validate_text_list(value)
    for permission in value:
        if not _PERMISSION.match(permission):
            raise ValidationError(f"{permission!r} is not of the form resource:action (either may be *).")


def validate_actions(value: Any) -> None:
    validate_text_list(value)
    if not value:
        raise ValidationError(f"Name at least one action of: {', '.join(ACTIONS)}.")
    for action in value:
        if action not in ACTIONS:
            raise ValidationError(f"{action!r} is not an action; choose from: {', '.join(ACTIONS)}.")


def validate_networks(value: Any) -> None:
    """A list of IPv4 or IPv6 networks in CIDR form, host bits zero."""
    validate_text_list(value)
    for network in value:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ValidationError(f"{network!r} is not a network in CIDR form: {error}.") from error


def validate_attributes(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValidationError("Give a mapping of names to values.")
