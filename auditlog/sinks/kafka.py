"""Produce records to a Kafka topic with the idempotent producer, keyed by chain.

The key keeps each chain in one partition and so in order. Exactly once within a producer's life; a
batch that comes again after a kill -9 is produced again, and a consumer drops it by event id.
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

        outcome = _Outcome(len(frames))
        try:
            for index, frame in enumerate(frames):
                record = orjson.loads(frame.body)
                self._producer.produce(
                    self._topic,
                    json_line(frame),
                    key=record["chain"],
                    headers={"event_id": record["event_id"], "event": record["event"]},
                    on_delivery=outcome.callback(index),
                )
            left = self._producer.flush(DELIVERY_SECONDS + 5)
        except (KafkaException, BufferError) as error:
            raise SinkUnavailable(f"kafka: {error}") from error
        if left:
            self._producer.purge()
            raise SinkUnavailable(f"kafka: {left} records not acknowledged in time")
        outcome.settle()

    def close(self) -> None:
        self._producer.flush(5)


class _Outcome:
    """What the brokers say of each record of a batch."""

    def __init__(self, expected: int) -> None:
        self._missing = set(range(expected))
        self._refused: dict[int, str] = {}
        self._failure = ""

    def callback(self, index: int) -> Any:
        def delivered(error: Any, _message: Any) -> None:
            self._missing.discard(index)
            if error is None:
                return
            if error.name() in REFUSALS:
                self._refused[index] = error.name()
            else:
                self._failure = error.name()

        return delivered

    def settle(self) -> None:
        """Raises SinkUnavailable or SinkRejected unless all were taken."""
        if self._failure or self._missing:
            raise SinkUnavailable(f"kafka: {self._failure or 'no answer'}")
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
