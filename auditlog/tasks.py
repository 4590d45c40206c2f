"""The background work of the audit log as Celery tasks: delivery to sinks, and retention."""

import logging
from typing import Any

from celery import shared_task

from auditlog.carrier import carry_here, unpack
from auditlog.sinks.sink import SinkMisconfigured, SinkRejected, SinkUnavailable

logger = logging.getLogger("gatehouse.audit")

RETRIES = 3


@shared_task(
    bind=True,
    name="auditlog.deliver",
    # A task is done when its records are stored, not when it was fetched: a killed worker's batch
    # comes back. Sinks pass over what they have, by event id.
    acks_late=True,
    reject_on_worker_lost=True,
    max_retries=RETRIES,
)
def deliver(self: Any, sink: str, packed: str) -> dict[str, Any]:
    """Bring one batch to one sink. An outage is tried a few times here; the shipper goes on after that."""
    try:
        carry_here(sink, unpack(packed))
    except (SinkUnavailable, SinkMisconfigured) as error:
        if self.request.retries < RETRIES:
            raise self.retry(exc=error, countdown=0.5 * 2**self.request.retries) from error
        return {"outcome": "unavailable", "reason": str(error)}
    except SinkRejected as rejection:
        return {"outcome": "rejected", "reasons": rejection.reasons}
    except Exception as error:
        # The task's edge: a fault of the sink's code. The shipper finds the record that brings it about.
        logger.exception("audit sink %s failed", sink)
        frames = unpack(packed)
        return {
            "outcome": "rejected",
            "reasons": dict.fromkeys(range(len(frames)), f"{type(error).__name__}: {error}"),
        }
    return {"outcome": "stored"}


@shared_task(name="auditlog.retention", acks_late=True)
def retention() -> int:
    """Remove what is older than GATEWAY_AUDIT_RETENTION_DAYS; returns the number of records."""
    from auditlog.retention import apply_retention

    return apply_retention()
