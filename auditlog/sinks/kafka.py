"""Produce records to a Kafka topic with the idempotent producer, keyed by chain.

The key keeps each chain in one partition and so in order. Of a batch that the brokers have taken in
part, this process produces only the rest again. After a kill -9, or when brokers stored records
without being able to say so, records are produced twice: a consumer drops them by event id.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from django.conf import settings

from auditlog.sinks.sink import Frame, SinkMisconfigured, SinkRejected, SinkUnavailable, json_line

DELIVERY_SECONDS = 20
# Refused for what they are: no later attempt would be taken.
REFUSALS = ("MSG_SIZE_TOO_LARGE", "INVALID_MSG", "INVALID_MSG_SIZE", "INVALID_RECORD")


class KafkaSink:
    """One producer; a batch is done when the brokers have acknowledged every record of it."""

    def __init__(self, configuration: dict[str, Any], topic: str) -> None:
        from confluent_kafka import Producer

        self._topic = topic
        # Hashes of those records of an unfinished batch that the brokers have acknowledged.
        self._acknowledged: set[bytes] = set()
        self._producer = Producer(
            {
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "zstd",
                "linger.ms": 5,
                "delivery.timeout.ms": DELIVERY_SECONDS * 1000,
                "log_level": 3,
            }
            | configuration
        )

    def deliver(self, frames: Sequence[Frame]) -> None:
        from confluent_kafka import KafkaException

        outcome = _Outcome(frames)
        try:
            for index, frame in enumerate(frames):
                if frame.digest not in self._acknowledged:
                    self._produce(frame, index, outcome)
            left = self._producer.flush(DELIVERY_SECONDS + 5)
            if left:
                self._producer.purge()
                self._producer.flush(1)
        except (KafkaException, BufferError) as error:
            self._acknowledged |= outcome.acknowledged
            raise SinkUnavailable(f"kafka: {error}") from error
        self._acknowledged |= outcome.acknowledged
        outcome.settle()
        self._acknowledged.clear()

    def _produce(self, frame: Frame, index: int, outcome: "_Outcome") -> None:
        from confluent_kafka import KafkaException

        record = orjson.loads(frame.body)
        outcome.expect(index)
        try:
            self._producer.produce(
                self._topic,
                json_line(frame),
                key=record["chain"],
                headers={"event_id": record["event_id"], "event": record["event"]},
                on_delivery=outcome.callback(index),
            )
        except KafkaException as error:
            # Too large for what this producer may send: known at once, without a broker.
            if error.args[0].name() not in REFUSALS:
                raise
            outcome.note(index, error.args[0])

    def close(self) -> None:
        self._producer.flush(5)


class _Outcome:
    """What the brokers say of each record of a batch."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.acknowledged: set[bytes] = set()
        self._frames = frames
        self._missing: set[int] = set()
        self._refused: dict[int, str] = {}
        self._failure = ""

    def expect(self, index: int) -> None:
        self._missing.add(index)

    def callback(self, index: int) -> Any:
        return lambda error, _message: self.note(index, error)

    def note(self, index: int, error: Any) -> None:
        self._missing.discard(index)
        if error is None:
            self.acknowledged.add(self._frames[index].digest)
        elif error.name() in REFUSALS:
            self._refused[index] = error.name()
        else:
            self._failure = error.name()

    def settle(self) -> None:
        """Raises SinkUnavailable or SinkRejected unless all were taken."""
        if self._failure or self._missing:
            raise SinkUnavailable(f"kafka: {self._failure or f'no answer for {len(self._missing)} records'}")
        if self._refused:
            raise SinkRejected(self._refused)


def open_sink() -> KafkaSink:
    try:
        import confluent_kafka  # noqa: F401 - an optional driver
    except ImportError as error:
        raise SinkMisconfigured("the kafka sink needs the package confluent-kafka") from error
    if not settings.GATEWAY_KAFKA_BOOTSTRAP:
        raise SinkMisconfigured("the kafka sink needs GATEWAY_KAFKA_BOOTSTRAP")
    return KafkaSink(
        {"bootstrap.servers": settings.GATEWAY_KAFKA_BOOTSTRAP}, settings.GATEWAY_AUDIT_KAFKA_TOPIC
    )
