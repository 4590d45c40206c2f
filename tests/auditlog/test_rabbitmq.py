"""RabbitMQ carries batches as Redis does: what is killed or away delays records and loses none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.auditlog.installation import Installation
from tests.services.deadline import wait_until
from tests.services.rabbitmq import RabbitmqServer

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]


@pytest.fixture
def installation(tmp_path: Path, postgresql_url: str, own_rabbitmq: RabbitmqServer) -> Iterator[Installation]:
    made = Installation(
        tmp_path / "data",
        postgresql_url,
        GATEWAY_CELERY_BROKER_URL=own_rabbitmq.url,
        GATEWAY_AUDIT_TASK_SECONDS="5",
    )
    yield made
    made.stop()


def test_killed_worker_and_shipper_lose_and_repeat_nothing(installation: Installation) -> None:
    shipper, worker = installation.start_shipper(), installation.start_worker()
    for number in range(4):
        writer = installation.start_writer(f"round{number}")
        before = len(installation.stored())
        wait_until(lambda least=before + 1500: len(installation.stored()) > least, "records come through", 90)
        writer.kill()
        shipper.kill()
        worker.kill()
        shipper, worker = installation.start_shipper(), installation.start_worker()
    installation.wait_until_shipped(120)
    installation.assert_each_once()
    assert "Traceback" not in worker.log()


def test_broker_that_is_away_delays_and_loses_nothing(
    installation: Installation, own_rabbitmq: RabbitmqServer
) -> None:
    shipper = installation.start_shipper()
    installation.start_worker()
    writer = installation.start_writer("load")
    wait_until(lambda: len(installation.stored()) > 500, "records come through", 90)
    own_rabbitmq.stop()
    wait_until(lambda: "no worker has answered" in shipper.log(), "the outage is noticed", 60)
    stored, answered = len(installation.stored()), len(installation.answered())
    wait_until(lambda: len(installation.answered()) > answered + 2000, "records go on being made", 60)
    assert len(installation.stored()) <= stored + 2000
    own_rabbitmq.start()
    writer.kill()
    installation.wait_until_shipped(120)
    installation.assert_each_once()
