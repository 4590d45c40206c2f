"""Format the process's own log records as one JSON object (or one text line) each, without secrets."""

import logging
from datetime import UTC, datetime
from typing import Any

import orjson
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest

from auditlog.escaping import escape_text
from auditlog.redaction import Redaction

# Django's own loggers, which quote what a client sent.
_OF_REQUESTS = ("django.request", "django.security", "django.channels", "django.server")
_DISALLOWED_HOST = "django.security.DisallowedHost"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class GatewayFormatter(logging.Formatter):
    """`timestamp` (UTC, µs, Z), `level`, `logger`, `message`, then the record's extra fields."""

    def __init__(self, style_name: str = "json") -> None:
        super().__init__()
        self.as_json = style_name != "text"
        self._redaction: Redaction | None = None

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        message = record.getMessage()
        traceback = self.formatException(record.exc_info) if record.exc_info else None
        if record.name.startswith(_OF_REQUESTS):
            message, traceback, extra = self._without_secrets(record, message, traceback, extra)
        if not self.as_json:
            # One record, one line: a newline in a message must not look like another record.
            line = f"{moment} {record.levelname} {record.name} {message!r}"
            line += "".join(f" {name}={value!r}" for name, value in extra.items())
            return line if traceback is None else f"{line}\n{traceback}"
        fields = {"timestamp": moment, "level": record.levelname, "logger": record.name, "message": message}
        if traceback is not None:
            extra["traceback"] = traceback
        return orjson.dumps({**fields, **extra}, default=str).decode()

    def _without_secrets(
        self, record: logging.LogRecord, message: str, traceback: str | None, extra: dict[str, Any]
    ) -> tuple[str, str | None, dict[str, Any]]:
        """What a client put in its path, its query or its host must not get into the log by that, nor look
        like another line of it.
        """
        if record.name == _DISALLOWED_HOST or isinstance((record.exc_info or (0, 0))[1], SuspiciousOperation):
            # A client's fault, not ours: no traceback, and a host may be anything.
            message, traceback = message.partition(":")[0], None
        redact = self._redact()
        extra = {
            name: escape_text(f"{redact.method(value.method or '')} {redact.path_text(value.path)}")
            if isinstance(value, HttpRequest)
            else value
            for name, value in extra.items()
        }
        return escape_text(redact.text(message)), traceback and redact.text(traceback), extra

    def _redact(self) -> Redaction:
        """Made at first need: the settings name this class before they are ready."""
        if self._redaction is None:
            from auditlog.configuration import redaction_from_settings

            self._redaction = redaction_from_settings()
        return self._redaction
