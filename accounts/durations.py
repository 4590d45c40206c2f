"""Read a duration such as 90d or 12h, as an administrator types it on a command line."""

import re
from datetime import timedelta

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"\A([1-9][0-9]{0,6})([mhdw])\Z")


def parse_duration(text: str) -> timedelta:
    """Raises ValueError in words."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: a whole number and m, h, d or w, such as 90d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
