"""kill -9 of writer, shipper and worker under load; brokers and databases that go and come back.

Every answered request is found, and found once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.auditlog.installation import Installation
from tests.services.deadline import wait_until
from tests.services.postgresql import PostgresqlServer
from tests.services.redis import RedisServer

Install = Callable[..., Installation]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    made: list[Installation] = []

    def make(database_url: str, **settings: str) -> Installation:
        made.append(Installation(tmp_path / "data", database_url, **settings))
        return made[-1]

    yield make
    for installation in made:
        installation.stop()


def kill_in_turn(installation: Installation, rounds: int, with_worker: bool) -> None:
    """Each round kills the writer, the shipper and the worker while records come in."""
    shipper = installation.start_shipper()
    worker = installation.start_worker() if with_worker else None
    for number in range(rounds):
        writer = installation.start_writer(f"round{number}")
        before = len(installation.answered())
        wait_until(lambda least=before + 1500: len(installation.answered()) > least, "load", 30)
        writer.kill()
        shipper.kill()
        shipper = installation.start_shipper()
        if worker is not None:
            worker.kill()
            worker = installation.start_worker()
    installation.wait_until_shipped(90)
    shipper.stop()
    # What the shippers themselves recorded of killed processes is for the next one to bring.
    last = installation.start_shipper()
    wait_until(lambda: installation.attempt("audit", "verify").returncode == 0, "a whole log", 60)
    last.stop()


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_kills_without_a_broker_lose_and_repeat_nothing(
    install: Install, postgresql_url: str, rounds: int
) -> None:
    installation = install(postgresql_url)
    kill_in_turn(installation, rounds, with_worker=False)
    installation.assert_each_once()
    adopted = installation.rows("SELECT count(*) FROM auditlog_auditrecord WHERE event = 'segment_adopted'")
    assert adopted[0][0] >= rounds


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_kills_with_a_celery_worker_lose_and_repeat_nothing(
    install: Install, postgresql_url: str, redis_server: RedisServer, rounds: int
) -> None:
    installation = install(
        postgresql_url,
        GATEWAY_CELERY_BROKER_URL=redis_server.url.removesuffix("/0") + "/3",
        GATEWAY_AUDIT_TASK_SECONDS="3",
    )
    kill_in_turn(installation, rounds, with_worker=True)
    installation.assert_each_once()


def test_broker_that_is_down_delays_and_loses_nothing(
    install: Install, postgresql_url: str, own_redis: RedisServer
) -> None:
    installation = install(
        postgresql_url, GATEWAY_CELERY_BROKER_URL=own_redis.url, GATEWAY_AUDIT_TASK_SECONDS="3"
    )
    installation.start_worker()
    shipper = installation.start_shipper()
    writer = installation.start_writer("load")
    wait_until(lambda: len(installation.stored()) > 100, "shipping", 40)
    own_redis.stop()
    wait_until(lambda: "broker" in shipper.log() or "answered" in shipper.log(), "the outage is noticed", 40)
    before = len(installation.answered())
    wait_until(lambda: len(installation.answered()) > before + 1000, "requests go on being answered")
    own_redis.start()
    writer.kill()
    installation.wait_until_shipped(60)
    installation.assert_each_once()


def test_database_that_is_down_delays_itself_and_not_the_file(
    install: Install, own_postgresql: PostgresqlServer
) -> None:
    installation = install(own_postgresql.new_database(), GATEWAY_AUDIT_SINKS="database,file")
    shipper = installation.start_shipper()
    writer = installation.start_writer("load")
    wait_until(lambda: len(installation.stored()) > 100, "shipping", 40)
    own_postgresql.stop()
    wait_until(lambda: "audit sink database" in shipper.log(), "the outage is noticed", 30)
    answered = set(installation.answered())
    file = installation.directory / "audit.jsonl"
    wait_until(lambda: len(file.read_bytes().splitlines()) > len(answered), "the file sink goes on", 30)
    writer.kill()
    own_postgresql.start()
    installation.wait_until_shipped(60)
    installation.assert_each_once()
    assert shipper.stop() == 0


def test_second_shipper_waits_for_the_first(install: Install, postgresql_url: str) -> None:
    installation = install(postgresql_url)
    first = installation.start_shipper()
    installation.start_writer("load")
    wait_until(lambda: installation.stored(), "the first ships", 30)
    second = installation.start_shipper()
    wait_until(lambda: "another audit shipper" in second.log(), "the second waits", 30)
    first.kill()
    seen = len(installation.stored())
    wait_until(lambda: len(installation.stored()) > seen + 100, "the second takes over", 30)


def test_records_of_several_months_go_to_partitions_of_their_own(
    install: Install, postgresql_url: str
) -> None:
    installation = install(postgresql_url, GATEWAY_AUDIT_RETENTION_DAYS="40")
    script = (
        "import time; from auditlog import recorder; day = 86400; now = time.time()\n"
        "for age in (100, 70, 35, 1, 0): recorder.record('request_completed', {'status': age}, now - age * day)"
    )
    installation.manage("shell", "-c", script)
    shipper = installation.start_shipper()
    wait_until(lambda: len(installation.stored()) == 5, "all months stored", 30)
    partitions = "SELECT tableoid::regclass::text FROM auditlog_auditrecord GROUP BY 1"
    assert len(installation.rows(partitions)) >= 3
    removed = installation.manage("audit", "retention")
    # The record that opened the chain has the age of the first.
    assert "3 records older than 40 days removed" in removed.stdout
    assert len(installation.stored()) == 3
    wait_until(lambda: installation.attempt("audit", "verify").returncode == 0, "what is left verifies", 30)
    assert shipper.stop() == 0
