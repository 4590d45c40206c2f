"""Celery's answers over AMQP, with a bound on what sending a task may wait for."""

from typing import Any

from celery._state import task_join_will_block
from celery.backends.rpc import RPCBackend
from kombu.common import maybe_declare

DECLARE_ATTEMPTS = {"max_retries": 1, "interval_start": 0.1}


class BoundedResults(RPCBackend):
    """Celery's own, but for one call that waits for as long as the broker is away."""

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Declare the queue for answers before a task is sent.

        Celery's version tries for ever: whoever sends would neither get to the attempts that it has set
        itself nor say that nobody answers. Raises the broker's OperationalError.
        """
        if not task_join_will_block():
            maybe_declare(self.binding(producer.channel), retry=True, **DECLARE_ATTEMPTS)
