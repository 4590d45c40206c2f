"""Kafka brokers on loopback: librdkafka's own mock cluster, which speaks the protocol and fails as told.

The Python package doesn't show it, so it is reached through the library that the package carries.
"""

import ctypes
from pathlib import Path
from typing import Any

import confluent_kafka

_PRODUCER, _PRODUCE_REQUEST = 0, 0
NO_ERROR, MESSAGE_TOO_LARGE, NOT_ENOUGH_REPLICAS = 0, 10, 19


def _library() -> ctypes.CDLL:
    (path,) = Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka-*")
    library = ctypes.CDLL(str(path))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_topic_create.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int,
    ]  # fmt: skip
    library.rd_kafka_mock_push_request_errors_array.argtypes = [
        ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.c_void_p,
    ]  # fmt: skip
    for name in ("rd_kafka_mock_broker_set_down", "rd_kafka_mock_broker_set_up"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_int32]
    for name in ("rd_kafka_mock_cluster_destroy", "rd_kafka_destroy"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    return library


class KafkaCluster:
    """One broker with one topic of one partition."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._library = _library()
        reason = ctypes.create_string_buffer(512)
        configuration = self._library.rd_kafka_conf_new()
        self._handle = self._library.rd_kafka_new(_PRODUCER, configuration, reason, len(reason))
        assert self._handle, reason.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, 1)
        assert self._cluster
        self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), 1, 1)
        self.bootstrap = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def answer_batches(self, *errors: int) -> None:
        """Answer the next requests to store records with these, one each; then in order again."""
        numbers = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, _PRODUCE_REQUEST, len(errors), numbers
        )

    def set_down(self) -> None:
        self._library.rd_kafka_mock_broker_set_down(self._cluster, 1)

    def set_up(self) -> None:
        self._library.rd_kafka_mock_broker_set_up(self._cluster, 1)

    def event_ids(self, count: int) -> list[str]:
        """Event ids in the topic: at least `count` of them, and whatever else is there."""
        consumer: Any = confluent_kafka.Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "tests", "auto.offset.reset": "earliest"}
        )
        try:
            consumer.assign([confluent_kafka.TopicPartition(self.topic, 0, confluent_kafka.OFFSET_BEGINNING)])
            entries = consumer.consume(count, timeout=30)
            entries += consumer.consume(1000, timeout=1)
        finally:
            consumer.close()
        return [dict(entry.headers())["event_id"].decode() for entry in entries if entry.error() is None]

    def close(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)
