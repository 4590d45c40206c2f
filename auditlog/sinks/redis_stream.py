"""XADD records to a Redis Stream, which is trimmed to about GATEWAY_AUDIT_STREAM_LENGTH entries.

A batch that comes again is recognised by the event ids at the end of the stream. Two shippers that
write at once may push it out of that window: a consumer drops by `event_id` what it has.
"""

from collections.abc import Sequence

import orjson
import redis
from django.conf import settings

from auditlog.sinks.sink import Frame, SinkMisconfigured, SinkUnavailable, json_line

TIMEOUT_SECONDS = 10


class RedisStreamSink:
    """One connection; a batch is one transaction, so it is in the stream whole or not at all."""

    def __init__(self, url: str, stream: str, length: int) -> None:
        self._stream, self._length = stream, length
        self._client = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )

    def deliver(self, frames: Sequence[Frame]) -> None:
        try:
            known = self._newest_ids(len(frames))
            with self._client.pipeline(transaction=True) as pipeline:
                for frame in frames:
                    event_id = orjson.loads(frame.body)["event_id"]
                    if event_id.encode() not in known:
                        fields = {"event_id": event_id, "record": json_line(frame)}
                        pipeline.xadd(self._stream, fields, maxlen=self._length, approximate=True)
                pipeline.execute()
        except redis.RedisError as error:
            raise SinkUnavailable(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        self._client.close()

    def _newest_ids(self, count: int) -> set[bytes]:
        """Event ids at the end of the stream: a batch that comes again stands there."""
        newest = self._client.xrevrange(self._stream, count=count * 2)
        return {fields[b"event_id"] for _, fields in newest if b"event_id" in fields}


def open_sink() -> RedisStreamSink:
    if not settings.GATEWAY_REDIS_URL:
        raise SinkMisconfigured("the redis_stream sink needs GATEWAY_REDIS_URL")
    return RedisStreamSink(
        settings.GATEWAY_REDIS_URL, settings.GATEWAY_AUDIT_STREAM, settings.GATEWAY_AUDIT_STREAM_LENGTH
    )
