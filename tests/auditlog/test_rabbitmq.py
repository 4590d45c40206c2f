"""RabbitMQ carries batches as Redis does: what is killed or away delays records and loses none."""

import os
import select
import subprocess
import sys
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
    # The task's 5 seconds, if one was under way, and the attempts to send: never as long as the outage.
    wait_until(lambda: "no worker has answered" in shipper.log(), "the outage is noticed", 20)
    stored, answered = len(installation.stored()), len(installation.answered())
    wait_until(lambda: len(installation.answered()) > answered + 2000, "records go on being made", 60)
    assert len(installation.stored()) <= stored + 2000
    own_rabbitmq.start()
    writer.kill()
    installation.wait_until_shipped(120)
    installation.assert_each_once()


# Sends a batch for each line it is given, and says how long it took.
SEND = """
import sys, time
import django
django.setup()
import gateway_site.celery
from auditlog.carrier import carry_by_celery
from auditlog.segment import Frame
from auditlog.sinks.sink import SinkUnavailable
for line in sys.stdin:
    began = time.monotonic()
    try:
        carry_by_celery("file", [Frame(bytes(32), b"{}")])
    except SinkUnavailable:
        print(time.monotonic() - began, flush=True)
"""


def test_batch_that_is_sent_in_an_outage_comes_back_soon(
    tmp_path: Path, own_rabbitmq: RabbitmqServer
) -> None:
    """Celery by itself would try to declare its queue for answers for as long as the broker is away."""
    settings = {
        "GATEWAY_DATA_DIR": str(tmp_path),
        "GATEWAY_CELERY_BROKER_URL": own_rabbitmq.url,
        "GATEWAY_AUDIT_TASK_SECONDS": "3",
    }
    sender = subprocess.Popen(
        [sys.executable, "-c", SEND],
        env=os.environ | settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert sender.stdin is not None
    assert sender.stdout is not None
    try:
        # Nobody works: this one waits for its answer until its time is up, over a good connection.
        sender.stdin.write("\n")
        assert 3 <= float(sender.stdout.readline()) < 10
        own_rabbitmq.stop()
        for _ in range(2):
            sender.stdin.write("\n")
            ready, _, _ = select.select([sender.stdout], [], [], 30)
            assert ready, "sending waits for the broker"
            assert float(sender.stdout.readline()) < 15
    finally:
        sender.kill()
        sender.communicate()
