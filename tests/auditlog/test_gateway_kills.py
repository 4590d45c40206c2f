"""kill -9 of gateway workers, shipper and Celery worker under HTTP load: every answer is found once."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.auditlog.http_load import HttpLoad, load_configuration
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.stub_upstream import StubUpstream
from tests.services.deadline import wait_until
from tests.services.redis import RedisServer
from tests.services.server_process import ServerProcess

SHIP = [sys.executable, "manage.py", "audit", "ship"]
WORK = [sys.executable, "-m", "celery", "-A", "gateway_site", "worker", "-c", "1", "-l", "warning"]
# Every so many rounds it is the whole gateway that is killed, its leading process included.
WHOLE_GATEWAY_EVERY = 3


class Plant:
    """A gateway with two workers, and a shipper and a Celery worker beside it."""

    WORKERS = 2

    def __init__(self, directory: Path, database_url: str, redis_url: str, upstream: StubUpstream) -> None:
        self.database_url = database_url
        self.directory = directory
        environment = {
            "GATEWAY_DATABASE_URL": database_url,
            "GATEWAY_REDIS_URL": f"{redis_url}/5",
            "GATEWAY_CELERY_BROKER_URL": f"{redis_url}/6",
            "GATEWAY_AUDIT_TASK_SECONDS": "3",
            "GATEWAY_AUDIT_SEGMENT_BYTES": str(128 * 1024),
        }
        self.gateway = GatewayProcess(
            directory,
            load_configuration(upstream.url),
            environment,
            arguments=["--role", "data", "--workers", str(self.WORKERS)],
        )
        self.shipper, self.worker = self.start("shipper", SHIP), self.start("worker", WORK)
        self.load = HttpLoad(self.gateway)

    def start(self, name: str, command: list[str]) -> ServerProcess:
        return ServerProcess(command, self.directory / f"{name}.log", self.gateway.environment)

    def kill_a_gateway_worker(self) -> None:
        """The one that has served longest, once its twin has come up: a server may give up on crash loops."""
        serving = wait_until(lambda: self.workers(), "the workers serve", 60)
        os.kill(serving[0], signal.SIGKILL)

    def workers(self) -> list[int]:
        """Pids of all workers, the oldest first; empty unless they are all there."""
        alive = {process.pid for process in self.gateway.servers()}
        with psycopg.connect(self.database_url) as connection:
            told = connection.execute("SELECT pid FROM routing_worker ORDER BY started_at").fetchall()
        found = [pid for (pid,) in told if pid in alive]
        return found if len(found) >= self.WORKERS else []

    def kill_the_gateway(self) -> None:
        port = self.gateway.port
        self.gateway.kill()
        self.gateway.start(port)

    def kill_what_ships(self) -> None:
        self.shipper.kill()
        self.shipper = self.start("shipper", SHIP)
        self.worker.kill()
        self.worker = self.start("worker", WORK)

    def stored(self) -> list[tuple[str, int]]:
        with psycopg.connect(self.database_url) as connection:
            sql = "SELECT request_id, status FROM auditlog_auditrecord WHERE request_id <> ''"
            return connection.execute(sql).fetchall()

    def verdict(self) -> str:
        """What `audit verify` says; empty when the log is whole."""
        told = self.gateway.command("audit", "verify", may_fail=True)
        return "" if told.returncode == 0 else told.stdout + told.stderr

    def release(self) -> None:
        self.load.stop()
        self.gateway.release()
        self.shipper.kill()
        self.worker.kill()


@pytest.fixture
def plant(tmp_path: Path, postgresql_url: str, redis_server: RedisServer) -> Iterator[Plant]:
    upstream = StubUpstream()
    plant = Plant(tmp_path / "plant", postgresql_url, redis_server.url.removesuffix("/0"), upstream)
    yield plant
    plant.release()
    upstream.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_every_answer_is_found_once_whatever_is_killed_under_load(plant: Plant, rounds: int) -> None:
    for number in range(1, rounds + 1):
        wait_until(plant.load.grows_by(150), f"load before kill {number}", 60)
        if number % WHOLE_GATEWAY_EVERY:
            plant.kill_a_gateway_worker()
        else:
            plant.kill_the_gateway()
        wait_until(plant.load.grows_by(50), f"load after kill {number}", 60)
        plant.kill_what_ships()
    wait_until(plant.load.grows_by(150), "load after the last kill", 60)
    plant.load.stop()
    answered = plant.load.answered
    wait_until(lambda: answered.keys() <= dict(plant.stored()).keys(), "all answers stored", 120)
    stored = plant.stored()
    assert {request_id: dict(stored)[request_id] for request_id in answered} == answered
    assert [entry for entry in Counter(request_id for request_id, _ in stored).items() if entry[1] > 1] == []
    assert plant.load.wrong == []
    # The kills were kills: clients saw connections break.
    assert plant.load.broken
    plant.gateway.server.stop(timeout_seconds=45)
    plant.shipper.stop(timeout_seconds=30)
    # What the last shipper recorded of the killed processes is for the next one to bring.
    plant.shipper = plant.start("shipper", SHIP)
    wait_until(lambda: plant.verdict() == "", "audit verify finds the log whole", 90)
