"""Sinks and the broker away for a minute and more, one after the other, while a gateway is asked.

No request fails, a sink that is down delays nobody else, and at the end each has every record once.
"""

import gzip
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tests.auditlog.http_load import HttpLoad, load_configuration
from tests.auditlog.webhook_receiver import WebhookReceiver
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.stub_upstream import StubUpstream
from tests.services.deadline import wait_until
from tests.services.postgresql import PostgresqlServer
from tests.services.redis import RedisServer
from tests.services.server_process import ServerProcess

OUTAGE_SECONDS = 65
# What a sink that is up may be behind, on a machine that runs all of this at once.
LAG_SECONDS = 15.0
# The shipper's longest pause between attempts, and the delivery of what has piled up.
RECOVERY_SECONDS = 90.0
STREAM = "outage:audit"


class FourSinks:
    """A gateway and a shipper with four sinks, and what each of them holds."""

    def __init__(self, directory: Path, database: PostgresqlServer, stream: RedisServer) -> None:
        self.database, self.stream = database, stream
        # A Redis that is stopped keeps what it has.
        with redis.Redis.from_url(stream.url) as client:
            client.config_set("save", "3600 1")
        self.receiver, self.upstream = WebhookReceiver(), StubUpstream()
        self.files = directory / "files"
        self.url = database.new_database()
        environment = {
            "GATEWAY_DATABASE_URL": self.url,
            "GATEWAY_AUDIT_SINKS": "database,webhook,redis_stream,file",
            "GATEWAY_AUDIT_WEBHOOK_URL": self.receiver.url,
            "GATEWAY_AUDIT_WEBHOOK_SECRET": "secret",
            "GATEWAY_REDIS_URL": stream.url,
            "GATEWAY_AUDIT_STREAM": STREAM,
            "GATEWAY_AUDIT_FILE": str(self.files / "audit.jsonl"),
            "GATEWAY_AUDIT_FILE_BYTES": str(1 << 20),
            "GATEWAY_AUDIT_FILES_KEPT": "1000",
            "GATEWAY_AUDIT_SEGMENT_BYTES": str(256 * 1024),
        }
        self.gateway = GatewayProcess(
            directory / "gateway",
            load_configuration(self.upstream.url),
            environment,
            arguments=["--role", "data"],
        )
        command = [sys.executable, "manage.py", "audit", "ship"]
        self.shipper = ServerProcess(command, directory / "shipper.log", self.gateway.environment)
        self.load = HttpLoad(self.gateway)
        self.held: dict[str, Callable[[], list[str]]] = {
            "database": self._in_database,
            "webhook": self._in_webhook,
            "redis_stream": self._in_stream,
            "file": self._in_files,
        }

    def _in_database(self) -> list[str]:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT request_id FROM auditlog_auditrecord WHERE request_id <> ''")
            return [request_id for (request_id,) in rows.fetchall()]

    def _in_webhook(self) -> list[str]:
        return _request_ids(record for batch in self.receiver.batches().values() for record in batch)

    def _in_stream(self) -> list[str]:
        with redis.Redis.from_url(self.stream.url) as client:
            return _request_ids(json.loads(fields[b"record"]) for _, fields in client.xrange(STREAM))

    def _in_files(self) -> list[str]:
        texts = [gzip.decompress(path.read_bytes()) for path in self.files.glob("*.gz")]
        texts += [(self.files / "audit.jsonl").read_bytes()] if (self.files / "audit.jsonl").exists() else []
        return _request_ids(json.loads(line) for text in texts for line in text.split(b"\n")[:-1])

    def take_down(self, sink: str) -> Callable[[], None]:
        """Returns what brings it back."""
        if sink == "database":
            self.database.stop()
            return self.database.start
        if sink == "webhook":
            self.receiver.stop()
            return self.receiver.start
        if sink == "redis_stream":
            self.stream.stop()
            return self._start_stream
        # As an unmounted volume: what is in its place can't be written to, by root neither.
        away = self.files.rename(self.files.with_name("away"))
        self.files.write_text("not a directory")

        def back() -> None:
            self.files.unlink()
            away.rename(self.files)

        return back

    def _start_stream(self) -> None:
        self.stream.start()
        # It listens before it has read its file.
        wait_until(self._in_stream_if_loaded, "Redis has what it had", 30)

    def _in_stream_if_loaded(self) -> list[str]:
        try:
            return self._in_stream()
        except redis.BusyLoadingError:
            return []

    def release(self) -> None:
        self.load.stop()
        self.shipper.kill()
        self.gateway.release()
        self.receiver.stop()
        self.upstream.stop()


def _request_ids(records: Iterator[dict[str, str]]) -> list[str]:
    return [record["request_id"] for record in records if record.get("request_id")]


@pytest.fixture
def sinks(tmp_path: Path, own_postgresql: PostgresqlServer, own_redis: RedisServer) -> Iterator[FourSinks]:
    sinks = FourSinks(tmp_path / "plant", own_postgresql, own_redis)
    yield sinks
    sinks.release()
    shutil.rmtree(tmp_path / "plant", ignore_errors=True)


def assert_current(sinks: FourSinks, names: list[str]) -> None:
    """What is answered now is in each of these soon."""
    answered = set(sinks.load.answered)
    for name in names:
        wait_until(
            lambda name=name: answered <= set(sinks.held[name]()), f"{name} is up to date", LAG_SECONDS
        )


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_sinks_that_are_away_delay_themselves_and_lose_nothing(sinks: FourSinks) -> None:
    assert_current(sinks, list(sinks.held))
    for down in list(sinks.held):
        others = [name for name in sinks.held if name != down]
        began = time.monotonic()
        bring_back = sinks.take_down(down)
        while time.monotonic() - began < OUTAGE_SECONDS:
            wait_until(sinks.load.grows_by(200), f"requests are answered while {down} is away", 60)
            assert_current(sinks, others)
        assert f"audit sink {down}" in sinks.shipper.log()
        bring_back()
        answered = set(sinks.load.answered)
        wait_until(
            lambda down=down, answered=answered: answered <= set(sinks.held[down]()),
            f"{down} has caught up",
            RECOVERY_SECONDS,
        )
    sinks.load.stop()
    assert_current(sinks, list(sinks.held))
    assert (sinks.load.wrong, sinks.load.broken) == ([], [])
    assert len(sinks.load.answered) > 4000
    for name, held in sinks.held.items():
        found = held()
        assert (name, sorted(found)) == (name, sorted(sinks.load.answered))
    assert sinks.shipper.stop(timeout_seconds=60) == 0


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_broker_that_is_away_delays_and_loses_nothing(
    tmp_path: Path, postgresql_url: str, own_redis: RedisServer
) -> None:
    upstream = StubUpstream()
    environment = {
        "GATEWAY_DATABASE_URL": postgresql_url,
        "GATEWAY_CELERY_BROKER_URL": own_redis.url,
        "GATEWAY_AUDIT_TASK_SECONDS": "5",
        "GATEWAY_AUDIT_SEGMENT_BYTES": str(256 * 1024),
    }
    configuration = load_configuration(upstream.url)
    gateway = GatewayProcess(tmp_path / "gateway", configuration, environment, arguments=["--role", "data"])
    ship = [sys.executable, "manage.py", "audit", "ship"]
    work = [sys.executable, "-m", "celery", "-A", "gateway_site", "worker", "-c", "1", "-l", "warning"]
    running = [
        ServerProcess(command, tmp_path / f"{name}.log", gateway.environment)
        for name, command in (("shipper", ship), ("worker", work))
    ]
    load = HttpLoad(gateway)

    def stored() -> list[str]:
        with psycopg.connect(postgresql_url) as connection:
            rows = connection.execute("SELECT request_id FROM auditlog_auditrecord WHERE request_id <> ''")
            return [request_id for (request_id,) in rows.fetchall()]

    try:
        wait_until(lambda: len(stored()) > 200, "records come through", 60)
        own_redis.stop()
        began, before = time.monotonic(), len(stored())
        while time.monotonic() - began < OUTAGE_SECONDS:
            wait_until(load.grows_by(200), "requests are answered while the broker is away", 60)
        assert len(stored()) <= before + 2000 < len(load.answered)
        own_redis.start()
        answered = set(load.answered)
        wait_until(lambda: answered <= set(stored()), "all of the outage is stored", RECOVERY_SECONDS)
        load.stop()
        wait_until(lambda: len(stored()) >= len(load.answered), "and all after it", RECOVERY_SECONDS)
        assert sorted(stored()) == sorted(load.answered)
        assert (load.wrong, load.broken) == ([], [])
    finally:
        load.stop()
        for process in running:
            process.kill()
        gateway.release()
        upstream.stop()
