"""Format the process's own log records as one JSON object (or one text line) each."""

import logging
from datetime import UTC, datetime

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class GatewayFormatter(logging.Formatter):
    """`timestamp` (UTC, µs, Z), `level`, `logger`, `message`, then the record's extra fields."""

    def __init__(self, style_name: str = "json") -> None:
        super().__init__()
        self.as_json = style_name != "text"

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        message = record.getMessage()
        traceback = self.formatException(record.exc_info) if record.exc_info else None
        if not self.as_json:
            # One record, one line: a newline in a message must not look like another record.
            line = f"{moment} {record.levelname} {record.name} {message!r}"
            line += "".join(f" {name}={value!r}" for name, value in extra.items())
            return line if traceback is None else f"{line}\n{traceback}"
        fields = {"timestamp": moment, "level": record.levelname, "logger": record.name, "message": message}
        if traceback is not None:
            extra["traceback"] = traceback
        return orjson.dumps({**fields, **extra}, default=str).decode()
