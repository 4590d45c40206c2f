"""Hand a batch to the task that delivers it: in this process, or through Celery to a worker.

With a broker the shipper waits for the worker's word before it moves the cursor. A task that is
lost on the way (a broker without persistence, a killed worker) is sent again after a while.
"""

import base64
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings

from auditlog.segment import DIGEST_BYTES, Frame
from auditlog.sinks import open_sink
from auditlog.sinks.sink import Sink, SinkRejected, SinkUnavailable

PUBLISH_ATTEMPTS = {"max_retries": 1, "interval_start": 0.1, "interval_step": 0.2}

Carry = Callable[[str, Sequence[Frame]], None]


def choose_carrier() -> Carry:
    return carry_by_celery if settings.GATEWAY_CELERY_BROKER_URL else carry_here


_open_sinks: dict[str, Sink] = {}


def carry_here(sink: str, frames: Sequence[Frame]) -> None:
    """Deliver in this thread. Raises what Sink.deliver raises."""
    if sink not in _open_sinks:
        _open_sinks[sink] = open_sink(sink)
    _open_sinks[sink].deliver(frames)


def close_sinks() -> None:
    for sink in _open_sinks.values():
        sink.close()
    _open_sinks.clear()


def carry_by_celery(sink: str, frames: Sequence[Frame]) -> None:
    """Send the batch to a worker and wait for its answer. Raises as carry_here."""
    from auditlog.tasks import deliver

    seconds = settings.GATEWAY_AUDIT_TASK_SECONDS
    try:
        result = deliver.apply_async(
            (sink, pack(frames)),
            argsrepr=f"({sink!r}, …)",
            retry=True,
            retry_policy=PUBLISH_ATTEMPTS,
            expires=seconds * 10,
        )
        answer = result.get(timeout=seconds)
        result.forget()
    except Exception as error:
        # Broker, result store and their drivers have a dozen error classes without a common root. All
        # mean the same: nobody has said that the records are stored.
        _listen_anew()
        raise SinkUnavailable(f"no worker has answered: {type(error).__name__}: {error}") from error
    _raise_answer(answer)


def _listen_anew() -> None:
    """Answers over AMQP come through a consumer of Celery's, which a longer outage leaves without a queue.

    It would wait for ever for answers that nobody can send it: the next task makes a new one.
    """
    from auditlog.tasks import deliver

    if settings.GATEWAY_CELERY_BROKER_URL.startswith("amqp"):
        deliver.app.backend.result_consumer.on_after_fork()


def _raise_answer(answer: dict[str, Any]) -> None:
    if answer["outcome"] == "unavailable":
        raise SinkUnavailable(answer["reason"])
    if answer["outcome"] == "rejected":
        raise SinkRejected({int(index): reason for index, reason in answer["reasons"].items()})


def pack(frames: Sequence[Frame]) -> str:
    """A batch as text for a JSON message, a small part of its size."""
    parts = (len(frame.body).to_bytes(4, "big") + frame.digest + frame.body for frame in frames)
    return base64.b64encode(zlib.compress(b"".join(parts), 1)).decode()


def unpack(packed: str) -> list[Frame]:
    data = zlib.decompress(base64.b64decode(packed, validate=True))
    frames, position = [], 0
    while position < len(data):
        body_at = position + 4 + DIGEST_BYTES
        end = body_at + int.from_bytes(data[position : position + 4], "big")
        frames.append(Frame(data[position + 4 : body_at], data[body_at:end]))
        position = end
    return frames
