"""The Celery application: worker and beat run `celery -A gateway_site worker` and `… beat`.

Records never depend on the broker's memory: the spool keeps them until a worker has answered. So
results are short-lived, and one task at a time is prefetched.
"""

import os

from celery import Celery
from celery.schedules import crontab
from celery.signals import worker_process_shutdown, worker_shutdown

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")

from django.conf import settings

app = Celery("gatehouse")
app.conf.update(
    broker_url=settings.GATEWAY_CELERY_BROKER_URL or "memory://",
    # AMQP answers over the broker itself; Redis keeps them as keys that expire.
    result_backend="gateway_site.amqp_results:BoundedResults"
    if settings.GATEWAY_CELERY_BROKER_URL.startswith("amqp")
    else None,
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    result_expires=600,
    task_default_queue="gatehouse",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    # Longer than a batch to the slowest sink with its retries; a task older than this was lost.
    broker_transport_options={"visibility_timeout": 300},
    result_backend_transport_options={
        "retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.5, "interval_max": 1}
    },
    broker_connection_retry_on_startup=True,
    # What ran while the broker was away is delivered again; it must not run on beside its twin.
    worker_cancel_long_running_tasks_on_connection_loss=True,
    broker_connection_timeout=5,
    worker_hijack_root_logger=False,
    timezone="UTC",
    beat_schedule={
        "audit-retention": {"task": "auditlog.retention", "schedule": crontab(hour="3", minute="17")}
    },
    beat_schedule_filename=str(settings.GATEWAY_DATA_DIR / "celerybeat-schedule"),
)
if settings.GATEWAY_CELERY_BROKER_URL.startswith(("redis://", "rediss://")):
    app.conf.result_backend = settings.GATEWAY_CELERY_BROKER_URL
app.autodiscover_tasks()


@worker_shutdown.connect
@worker_process_shutdown.connect
def _close_recorder(**_: object) -> None:
    """What the worker itself recorded (retention) is signed and sealed before it ends."""
    from auditlog import recorder

    recorder.close()
