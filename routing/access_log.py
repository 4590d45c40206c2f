"""Write one line a request to standard output: noted on the event loop, written by a thread of its own.

A reader of the log that stalls costs lines (counted and reported), never requests.
"""

import json
import logging
import os
import queue
import threading
from collections.abc import Callable
from time import gmtime, strftime
from typing import Any

logger = logging.getLogger("gatehouse.access_log")

QUEUE_LIMIT = 512  # batches; a batch is what one tick of the event loop's sweep gathered
BATCH_LIMIT = 20_000  # lines between two flushes


def _seconds_text(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))


# now, event, request id, method, path, status, client address, duration in ms, more fields
Noted = tuple[float, str, str, str, str, int, str, float, dict[str, Any] | None]

# method, path, request id and more fields, without secrets
Words = tuple[str, str, str, dict[str, Any] | None]
Redact = Callable[[str, str, str, dict[str, Any] | None], Words]


class Timestamps:
    """UTC with microseconds and Z; the part up to the second is worked out once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, now: float) -> str:
        second = int(now)
        if second != self._second:
            self._second, self._text = second, _seconds_text(second)
        return f"{self._text}.{int((now - second) * 1e6):06d}Z"


def json_text(text: str) -> str:
    """A JSON string; the plain case costs one scan."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return json.dumps(text)


class AccessLog:
    """Lines of access events. `add` is called on the event loop; everything else is off it."""

    def __init__(self, descriptor: int = 1, as_json: bool = True, redact: Redact | None = None) -> None:
        self._descriptor = descriptor
        self._as_json = as_json
        self._redact = redact
        # Events to be written as lines, and lines.
        self._noted: list[Noted | str] = []
        self._batches: queue.Queue[list[Noted | str] | None] = queue.Queue(QUEUE_LIMIT)
        self._dropped = 0
        self._timestamps = Timestamps()
        self._loop_timestamps = Timestamps()  # one for each thread that writes lines
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._write_batches, name="access-log", daemon=True)
        self._thread.start()

    def add(
        self,
        now: float,
        event: str,
        request_id: str,
        method: str,
        path: str,
        status: int,
        client_ip: str,
        duration_ms: float,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Note one event; `now` is epoch seconds. `path` comes without its query."""
        if len(self._noted) >= BATCH_LIMIT:
            self._dropped += 1
            return
        self._noted.append((now, event, request_id, method, path, status, client_ip, duration_ms, extra))

    def add_completed(
        self,
        now: float,
        request_id: str,
        method: str,
        path: str,
        status: int,
        client_ip: str,
        duration_ms: float,
        is_plain: bool,
    ) -> None:
        """Note a request that was answered; plain: its words hold neither secrets nor anything to escape."""
        if not is_plain or not self._as_json or len(self._noted) >= BATCH_LIMIT:
            self.add(now, "request_completed", request_id, method, path, status, client_ip, duration_ms)
            return
        self._noted.append(
            f'{{"timestamp":"{self._loop_timestamps.text(now)}","level":"INFO","logger":"gatehouse.access",'
            f'"message":"request_completed status={status}","event":"request_completed",'
            f'"request_id":"{request_id}","method":"{method}","path":"{path}","status":{status},'
            f'"client_ip":"{client_ip}","duration_ms":{duration_ms:.3f}}}\n'
        )

    def flush(self) -> None:
        """Hand what was noted to the writer; called several times a second on the event loop."""
        if not self._noted:
            return
        noted, self._noted = self._noted, []
        try:
            self._batches.put_nowait(noted)
        except queue.Full:
            self._dropped += len(noted)

    def close(self, timeout: float = 5.0) -> None:
        self.flush()
        if self._thread is not None:
            try:
                self._batches.put(None, timeout=timeout)
            except queue.Full:
                return
            self._thread.join(timeout)

    def _write_batches(self) -> None:
        while (noted := self._batches.get()) is not None:
            try:
                lines = [event if type(event) is str else self._line(event) for event in noted]
                self._write("".join(lines).encode())
            except OSError as error:
                logger.warning("access log can't be written: %s", error)
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                logger.warning("access log dropped lines", extra={"dropped": dropped})

    def _line(self, noted: Any) -> str:
        form = self._json_line if self._as_json else self._text_line
        return form(*self._redacted(noted))

    def _redacted(self, noted: Noted) -> Noted:
        """A secret that a client put in its path, request id or reason must not get into a log by that."""
        if self._redact is None:
            return noted
        now, event, request_id, method, path, status, client_ip, duration_ms, extra = noted
        method, path, request_id, extra = self._redact(method, path, request_id, extra)
        return now, event, request_id, method, path, status, client_ip, duration_ms, extra

    def _json_line(
        self,
        now: float,
        event: str,
        request_id: str,
        method: str,
        path: str,
        status: int,
        client_ip: str,
        duration_ms: float,
        extra: dict[str, Any] | None,
    ) -> str:
        level = "WARNING" if event in WARNINGS else "INFO"
        more = "," + json.dumps(extra, default=str)[1:-1] if extra else ""
        return (
            f'{{"timestamp":"{self._timestamps.text(now)}","level":"{level}","logger":"gatehouse.access",'
            f'"message":"{event} status={status}","event":"{event}","request_id":{json_text(request_id)},'
            f'"method":{json_text(method)},"path":{json_text(path)},"status":{status},'
            f'"client_ip":{json_text(client_ip)},"duration_ms":{duration_ms:.3f}{more}}}\n'
        )

    def _text_line(
        self,
        now: float,
        event: str,
        request_id: str,
        method: str,
        path: str,
        status: int,
        client_ip: str,
        duration_ms: float,
        extra: dict[str, Any] | None,
    ) -> str:
        level = "WARNING" if event in WARNINGS else "INFO"
        more = "".join(f" {name}={value!r}" for name, value in (extra or {}).items())
        return (
            f"{self._timestamps.text(now)} {level} gatehouse.access {event} "
            f"request_id={json_text(request_id)} method={json_text(method)} path={json_text(path)} "
            f"status={status} client_ip={client_ip} duration_ms={duration_ms:.3f}{more}\n"
        )

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]


WARNINGS = frozenset({"request_failed", "api_key_rejected", "request_body_too_large"})
