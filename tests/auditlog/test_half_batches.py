"""A destination that takes half of a batch gets the other half, and every record counts once."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditlog.api.questions import Question
from auditlog.delivery import Delivery, Undeliverable
from auditlog.reader import next_batch
from auditlog.sinks.clickhouse import ClickHouseSink, find_records
from auditlog.sinks.kafka import KafkaSink
from auditlog.sinks.sink import Sink
from auditlog.sinks.webhook import WebhookSink
from tests.auditlog.clickhouse_server import ClickHouseServer
from tests.auditlog.conftest import REQUEST, MakeRecorder
from tests.auditlog.kafka_cluster import MESSAGE_TOO_LARGE, NO_ERROR, NOT_ENOUGH_REPLICAS, KafkaCluster
from tests.auditlog.webhook_receiver import WebhookReceiver

RECORDS = 40
Deliver = Callable[[Sink], Delivery]


@pytest.fixture
def aside() -> list[Undeliverable]:
    return []


@pytest.fixture
def recorded(make_recorder: MakeRecorder, spool: Path) -> list[str]:
    """Event ids of what is in the spool, in order."""
    recorder = make_recorder()
    for _ in range(RECORDS - 1):
        recorder.record("request_completed", REQUEST)
    return [orjson.loads(frame.body)["event_id"] for frame in next_batch(spool, {}, 1000).frames]


@pytest.fixture
def deliver(spool: Path, recorded: list[str], aside: list[Undeliverable]) -> Iterator[Deliver]:
    """deliver(sink): one batch through the shipper's own way to a sink."""
    opened: list[Sink] = []

    def run(sink: Sink) -> Delivery:
        opened.append(sink)
        delivery = Delivery(
            spool, "stub", lambda _, frames: sink.deliver(frames), threading.Event(), aside.append, 0.01
        )
        assert delivery.step()
        assert not delivery.step()
        return delivery

    yield run
    for sink in opened:
        sink.close()


def kept_aside(spool: Path) -> list[str]:
    lines = (spool / "undeliverable" / "stub.jsonl").read_bytes().splitlines()
    return [orjson.loads(line)["event_id"] for line in lines]


# --- webhook --------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    yield receiver
    receiver.stop()


@pytest.mark.parametrize(
    "broken", [(500, b"half of it is stored"), None, (503, b"")], ids=["fails", "breaks-off", "busy"]
)
def test_webhook_that_fails_half_way_is_sent_the_same_batch_under_the_same_key(
    deliver: Deliver, receiver: WebhookReceiver, recorded: list[str], broken: tuple[int, bytes] | None
) -> None:
    receiver.script = [broken, broken]
    delivery = deliver(WebhookSink(receiver.url, "secret"))
    assert len(receiver.requests) == 3
    (batch,) = receiver.batches().values()
    assert [record["event_id"] for record in batch] == recorded
    assert (delivery.cursor.delivered, delivery.cursor.undeliverable) == (RECORDS, 0)


def test_webhook_that_refuses_half_gets_only_that_half_again_until_it_is_set_aside(
    deliver: Deliver,
    receiver: WebhookReceiver,
    recorded: list[str],
    aside: list[Undeliverable],
    spool: Path,
) -> None:
    refused = recorded[1::2]
    receiver.answer = orjson.dumps({"rejected": dict.fromkeys(refused, "not mine")})
    delivery = deliver(WebhookSink(receiver.url, "secret"))
    sent = [[record["event_id"] for record in batch] for batch in receiver.batches().values()]
    assert sent == [recorded, refused]
    assert len(receiver.requests) == 5
    assert kept_aside(spool) == refused
    assert [entry.count for entry in aside] == [len(refused)]
    assert (delivery.cursor.delivered, delivery.cursor.undeliverable) == (
        RECORDS - len(refused),
        len(refused),
    )


# --- clickhouse -----------------------------------------------------------------------------


def test_clickhouse_that_stores_half_and_fails_answers_each_record_once(
    deliver: Deliver, recorded: list[str], tmp_path: Path, settings: Any
) -> None:
    server = ClickHouseServer(tmp_path / "clickhouse")
    try:
        server.break_after = RECORDS // 2
        settings.GATEWAY_CLICKHOUSE_URL = server.url
        delivery = deliver(ClickHouseSink(server.url, 365))
        answered = [str(event_id) for event_id, _ in find_records(Question(limit=100))]
        assert answered == recorded[::-1]
        assert (delivery.state.failed, delivery.cursor.delivered) == (1, RECORDS)
        # It did store the half twice: what is answered is the merged view.
        rows = server.session.query("SELECT count() FROM gatehouse_audit", "TabSeparated")
        assert int(rows.bytes()) in (RECORDS, RECORDS + RECORDS // 2)
    finally:
        server.close()


# --- kafka ----------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    cluster = KafkaCluster("audit")
    yield cluster
    cluster.close()


def kafka_sink(cluster: KafkaCluster, **configuration: Any) -> KafkaSink:
    # A request of ten records each, one at a time: errors fall on known ones.
    steps = {"batch.num.messages": RECORDS // 4, "max.in.flight": 1, "linger.ms": 50}
    return KafkaSink({"bootstrap.servers": cluster.bootstrap} | steps | configuration, cluster.topic)


def test_kafka_that_takes_half_is_sent_the_rest(
    deliver: Deliver, cluster: KafkaCluster, recorded: list[str]
) -> None:
    # The client itself tries again until its time is up; then it is the shipper's turn.
    cluster.answer_batches(NO_ERROR, NO_ERROR, *[NOT_ENOUGH_REPLICAS] * 10)
    sink = kafka_sink(cluster, **{"delivery.timeout.ms": 1000, "retry.backoff.ms": 20})
    delivery = deliver(sink)
    stored = cluster.event_ids(RECORDS)
    assert sorted(stored) == sorted(recorded)
    assert [entry for entry, times in Counter(stored).items() if times > 1] == []
    assert delivery.state.failed >= 1


def test_kafka_that_refuses_three_quarters_keeps_the_rest_once(
    deliver: Deliver, cluster: KafkaCluster, recorded: list[str], aside: list[Undeliverable], spool: Path
) -> None:
    # Three requests of each of the five attempts.
    cluster.answer_batches(NO_ERROR, *[MESSAGE_TOO_LARGE] * 3 * 5)
    delivery = deliver(kafka_sink(cluster))
    refused = kept_aside(spool)
    stored = cluster.event_ids(RECORDS - len(refused))
    assert sorted(stored + refused) == sorted(recorded)
    assert len(refused) == RECORDS * 3 // 4
    assert delivery.cursor.undeliverable == len(refused) == sum(entry.count for entry in aside)


def test_kafka_record_that_is_too_large_to_send_does_not_hold_up_the_others(
    cluster: KafkaCluster, make_recorder: MakeRecorder, deliver: Deliver, recorded: list[str], spool: Path
) -> None:
    delivery = deliver(kafka_sink(cluster, **{"message.max.bytes": 1100, "batch.size": 1100}))
    assert delivery.cursor.undeliverable == 0
    recorder = make_recorder()
    for agent in (b"short", b"long" * 120, b"short"):
        recorder.record("request_completed", REQUEST | {"user_agent": agent, "path": "/" + "x" * len(agent)})
    delivery._stop = threading.Event()
    assert delivery.step()
    assert len(kept_aside(spool)) == 1
    assert len(cluster.event_ids(RECORDS + 3)) == RECORDS + 3


def test_kafka_that_is_away_and_comes_back_gets_each_record_once(
    deliver: Deliver, cluster: KafkaCluster, recorded: list[str]
) -> None:
    cluster.set_down()
    threading.Timer(3, cluster.set_up).start()
    delivery = deliver(kafka_sink(cluster, **{"delivery.timeout.ms": 1000, "reconnect.backoff.max.ms": 200}))
    assert delivery.state.failed >= 1
    assert sorted(cluster.event_ids(RECORDS)) == sorted(recorded)
