"""Read typed fields out of a JSON body or a query string and name every one that is wrong.

It knows types and bounds only; what a value means is the service's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import orjson
from starlette.requests import Request

from examples.errors import InvalidFields, InvalidJson

T = TypeVar("T")

INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")


async def read_object(request: Request) -> dict[str, Any]:
    """Return the body as a JSON object; an empty body counts as `{}`. Raises InvalidJson."""
    body = await request.body()
    if not body.strip():
        return {}
    try:
        # orjson also refuses NaN and Infinity, which the standard library would let through.
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidJson(f"The body is not JSON: {exc}.") from exc
    if not isinstance(value, dict):
        raise InvalidJson()
    return value


def read_query(request: Request, names: Iterable[str]) -> Fields:
    """Return the query string as fields; any other name in it is an error."""
    return Fields(dict(request.query_params), names, from_text=True)


class Fields:
    """The named fields of one input. Ask for each, then call `check()`, which raises InvalidFields.

    A reading method returns the default (or the lowest legal value) for a wrong field, so that one pass
    finds every mistake; nothing read may be used before `check()` has passed.
    """

    def __init__(self, values: Mapping[str, Any], names: Iterable[str], *, from_text: bool = False) -> None:
        self._values = values
        # A query string has no types; in JSON, "5" is not 5.
        self._from_text = from_text
        known = sorted(names)
        self._wrong = {
            name: f"unknown field; known are {', '.join(known)}" for name in values if name not in known
        }

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def reject(self, name: str, why: str) -> None:
        """Note that a field is wrong; the first reason given for it stays."""
        self._wrong.setdefault(name, why)

    def check(self) -> None:
        """Raise InvalidFields when any field was wrong."""
        if self._wrong:
            raise InvalidFields(self._wrong)

    def integer(self, name: str, default: int | None, low: int, high: int) -> int:
        value = self._values.get(name, default)
        if self._from_text and isinstance(value, str) and INTEGER.match(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            return self._wrong_value(name, default, low, f"must be an integer from {low} to {high}")
        return value

    def number(self, name: str, default: float | None, low: float, high: float) -> float:
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return self._wrong_value(name, default, low, f"must be a number from {low:g} to {high:g}")
        return float(value)

    def text(self, name: str, default: str | None, longest: int, shortest: int = 1) -> str:
        value = self._values.get(name, default)
        if not isinstance(value, str) or not shortest <= len(value.strip()) <= longest:
            why = f"must be a text of {shortest} to {longest} characters"
            return self._wrong_value(name, default, "", why)
        return value.strip()

    def choice(self, name: str, default: str | None, options: Iterable[str]) -> str:
        value = self._values.get(name, default)
        allowed = list(options)
        if not isinstance(value, str) or value not in allowed:
            return self._wrong_value(name, default, "", f"must be one of {', '.join(allowed)}")
        return value

    def boolean(self, name: str, default: bool | None) -> bool:
        value = self._values.get(name, default)
        if self._from_text and value in ("true", "false"):
            value = value == "true"
        if not isinstance(value, bool):
            return self._wrong_value(name, default, False, "must be true or false")
        return value

    def items(self, name: str, default: list[Any] | None, most: int) -> list[Any]:
        value = self._values.get(name, default)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            return self._wrong_value(name, default, [], f"must be a list of 1 to {most} items")
        return value

    def _wrong_value(self, name: str, default: T | None, stand_in: T, why: str) -> T:
        self.reject(name, why if name in self._values else f"is required and {why}")
        return stand_in if default is None else default
