"""One line a request, whatever a client puts into it, and no request that waits for its reader."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from auditlog.redaction import Redaction
from routing import access_log as module
from routing.access_log import AccessLog
from tests.services.deadline import wait_until

NASTY = {
    "quote": '/a"b',
    "backslash": "/a\\b",
    "line-feed": '/a\n{"event":"forged"}',
    "carriage-return": "/a\rb",
    "escape": "/a\x1b[31mb",
    "nul": "/a\x00b",
    "unicode-line": "/a\u2028b\u0085c",
    "surrogate-free-latin": "/caf\xe9",
    "key-value": "/a status=200 client_ip=1.2.3.4",
}


class Reader:
    """The far end of a pipe that the log writes to."""

    def __init__(self) -> None:
        self.end, self.descriptor = os.pipe()
        self._data = b""

    def lines(self) -> list[str]:
        os.close(self.descriptor)
        while data := os.read(self.end, 65536):
            self._data += data
        # Split as a log collector does: at line feeds alone.
        return self._data.decode().split("\n")[:-1]


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    for descriptor in (made.end, made.descriptor):
        try:
            os.close(descriptor)
        except OSError:
            pass


def add(log: AccessLog, path: str = "/x", **fields: Any) -> None:
    values = {"request_id": "r", "method": "GET", "status": 200, "client_ip": "192.0.2.7"} | fields
    log.add(
        1_700_000_000.123456,
        values.get("event", "request_completed"),
        values["request_id"],
        values["method"],
        path,
        values["status"],
        values["client_ip"],
        1.5,
        values.get("extra"),
    )


def written(reader: Reader, as_json: bool, *additions: Any) -> list[str]:
    log = AccessLog(reader.descriptor, as_json)
    log.start()
    for addition in additions:
        addition(log)
    log.close()
    return reader.lines()


@pytest.mark.parametrize("path", NASTY.values(), ids=NASTY.keys())
@pytest.mark.parametrize("field", ["path", "method", "request_id"])
def test_json_line_holds_what_was_sent_and_nothing_else(reader: Reader, path: str, field: str) -> None:
    sent = {field: path} if field != "path" else {}
    (line,) = written(reader, True, lambda log: add(log, path if field == "path" else "/x", **sent))
    event = json.loads(line)
    assert event[field] == path
    assert (event["event"], event["status"], event["client_ip"]) == ("request_completed", 200, "192.0.2.7")


@pytest.mark.parametrize("path", NASTY.values(), ids=NASTY.keys())
def test_text_line_stays_one_line_and_forges_no_field(reader: Reader, path: str) -> None:
    (line,) = written(reader, False, lambda log: add(log, path, extra={"code": path}))
    assert line.count(" status=200 client_ip=192.0.2.7 duration_ms=") == 1
    # Without what stands in quotes nothing of the client's is left.
    assert "\x1b" not in line
    assert "\r" not in line
    assert f"path={json.dumps(path)}" in line


def test_line_has_its_moment_and_its_level(reader: Reader) -> None:
    lines = written(
        reader,
        True,
        lambda log: add(log),
        lambda log: add(log, event="api_key_rejected", status=401, extra={"code": "credential_invalid"}),
    )
    first, second = (json.loads(line) for line in lines)
    assert (first["timestamp"], first["level"], first["duration_ms"]) == (
        "2023-11-14T22:13:20.123456Z",
        "INFO",
        1.5,
    )
    assert (second["level"], second["code"]) == ("WARNING", "credential_invalid")


def test_reader_that_stalls_costs_lines_that_are_counted(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "QUEUE_LIMIT", 2)
    monkeypatch.setattr(module, "BATCH_LIMIT", 1000)
    log = AccessLog(reader.descriptor)
    log.start()
    added = 0
    with caplog.at_level(logging.WARNING, "gatehouse.access_log"):
        for _ in range(40):
            for _ in range(1100):
                add(log, "/" + "x" * 100)
                added += 1
            # Nobody reads: this returns all the same.
            log.flush()
        lines: list[str] = []
        reading = threading.Thread(target=lambda: lines.extend(read_until_closed(reader)))
        reading.start()
        wait_until(lambda: any("dropped" in record.message for record in caplog.records), "drops are said")
        log.close()
        os.close(reader.descriptor)
        reading.join(20)
    dropped = sum(getattr(record, "dropped", 0) for record in caplog.records)
    assert 0 < len(lines) < added
    assert dropped + len(lines) == added
    assert all(json.loads(line)["event"] == "request_completed" for line in lines)


def read_until_closed(reader: Reader) -> list[str]:
    data = b""
    while part := os.read(reader.end, 65536):
        data += part
    return data.decode().split("\n")[:-1]


def test_reader_that_has_gone_stops_no_request(reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    os.close(reader.end)
    log = AccessLog(reader.descriptor)
    log.start()
    with caplog.at_level(logging.WARNING, "gatehouse.access_log"):
        for _ in range(3):
            add(log)
            log.flush()
        log.close()
    assert "can't be written" in caplog.text


def test_secret_in_a_reason_to_close_is_taken_out(reader: Reader) -> None:
    log = AccessLog(reader.descriptor, redact=Redaction(salt=b"salt").log_words)
    ending = {"close_code": 4000, "close_reason": "Bearer hunter2hunter2", "closed_by": "client"}
    log.start()
    log.add(1.0, "ws_disconnected", "request-1", "GET", "/x", 101, "10.0.0.1", 1.0, ending)
    log.close()
    (line,) = reader.lines()
    assert json.loads(line)["close_reason"] == "Bearer ***"
