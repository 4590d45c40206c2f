"""A recorder and its spool for one test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.chain import SigningKey
from auditlog.configuration import signing_key
from auditlog.reader import next_batch
from auditlog.recorder import Recorder
from auditlog.redaction import Redaction
from auditlog.segment import Frame

KEY = SigningKey("test-key", bytes(range(32)))
REQUEST: dict[str, Any] = {
    "request_id": "018f3f3e-7c52-7f0a-9a3e-3f2a7a1b2c3d",
    "principal": "alice",
    "credential_kind": "api_key",
    "route": "orders",
    "method": "GET",
    "path": "/api/orders/7",
    "query": b"limit=5",
    "status": 200,
    "decision": "allow",
    "client_ip": "10.1.2.3",
    "user_agent": b"curl/8.5.0",
    "duration_ms": 3.2,
}

MakeRecorder = Callable[..., Recorder]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def make_recorder(spool: Path) -> Iterator[MakeRecorder]:
    """Make recorders on the test's spool, closed after it. Without a thread unless `started`."""
    made: list[Recorder] = []

    def make(started: bool = False, **overrides: Any) -> Recorder:
        options: dict[str, Any] = {
            "node": "node-1",
            "redaction": Redaction(salt=b"salt"),
            "key": KEY,
            "segment_bytes": 64 * 1024,
            "limit_bytes": 16 * 1024 * 1024,
            "fsync": "never",
        } | overrides
        recorder = Recorder(options.pop("directory", spool), **options)
        if started:
            recorder.start()
        made.append(recorder)
        return recorder

    yield make
    for recorder in made:
        recorder.close()


@pytest.fixture
def chain(make_recorder: MakeRecorder, spool: Path) -> list[Frame]:
    """A closed chain: opened, 20 requests, closed, checkpoint; as it was recorded."""
    recorder = make_recorder(key=signing_key())
    for number in range(20):
        recorder.record("request_completed", {**REQUEST, "status": 200 + number})
    recorder.close()
    return next_batch(spool, {}, 1000).frames
