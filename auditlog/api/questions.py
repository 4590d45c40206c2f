"""Read the question of a request to /v1/audit from its query string, strictly."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from auditlog.api.cursors import CursorInvalid, read_cursor

DEFAULT_LIMIT, HIGHEST_LIMIT = 50, 100
MOST_DIGITS = 9
TEXTS = ("principal", "route", "decision", "request_id", "event")
KNOWN = frozenset({*TEXTS, "cursor", "limit", "since", "until", "status"})


class QuestionInvalid(ValueError):
    """Which parameter is wrong, and why."""

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}")
        self.parameter, self.reason = parameter, reason


@dataclass(frozen=True)
class Question:
    """What is asked for; newest records first, from after the cursor."""

    limit: int = DEFAULT_LIMIT
    after: uuid.UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    status: int | None = None
    principal: str | None = None
    route: str | None = None
    decision: str | None = None
    request_id: str | None = None
    event: str | None = None


def read_question(parameters: Mapping[str, str]) -> Question:
    """Raises QuestionInvalid; an unknown parameter is one, or a typing error would widen the answer."""
    for name in parameters:
        if name not in KNOWN:
            raise QuestionInvalid(name, "is no parameter of this API")
    texts = {name: parameters[name] for name in TEXTS if name in parameters}
    for name, text in texts.items():
        # PostgreSQL can't even be asked for it.
        if "\0" in text:
            raise QuestionInvalid(name, "holds a NUL, as no record does")
    return Question(
        limit=_limit(parameters),
        after=_cursor(parameters),
        since=_moment(parameters, "since"),
        until=_moment(parameters, "until"),
        status=_status(parameters),
        **texts,
    )


def _limit(parameters: Mapping[str, str]) -> int:
    limit = _number(parameters.get("limit", str(DEFAULT_LIMIT)))
    if not 1 <= limit <= HIGHEST_LIMIT:
        raise QuestionInvalid("limit", f"a number from 1 to {HIGHEST_LIMIT}")
    return limit


def _cursor(parameters: Mapping[str, str]) -> uuid.UUID | None:
    text = parameters.get("cursor", "")
    if text in ("", "null"):
        return None
    try:
        return read_cursor(text)
    except CursorInvalid as error:
        raise QuestionInvalid("cursor", str(error)) from error


def _moment(parameters: Mapping[str, str], name: str) -> datetime | None:
    text = parameters.get(name)
    if text is None:
        return None
    try:
        # A + of a zone that was not encoded arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError as error:
        raise QuestionInvalid(name, "a time in ISO 8601, such as 2030-01-31T12:00:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _status(parameters: Mapping[str, str]) -> int | None:
    text = parameters.get("status")
    if text is None:
        return None
    status = _number(text)
    if not 100 <= status <= 999:
        raise QuestionInvalid("status", "a status code from 100 to 999")
    return status


def _number(text: str) -> int:
    """-1 for what is no number, or one of more digits than any that is asked for."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else -1
