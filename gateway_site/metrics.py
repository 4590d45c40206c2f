"""What the gateway's processes say of themselves in the database, as metrics. Reads rows and nothing else.

Every process has the same rows to read, so that any one can answer for all.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from accounts.revisions import current_revision
from auditlog.models import ShipperStatus
from routing.models import Worker

# Reports come every five seconds: after twelve missing ones the figures are nobody's.
LEFT_OUT_AFTER = timedelta(seconds=60)
Sample = tuple[Sequence[str], float]


class ReportCollector(Collector):
    """The installation's own figures, those of its audit shippers and those of its workers."""

    def collect(self) -> Iterable[Metric]:
        """Raises django.db.OperationalError without the database."""
        since = timezone.now() - LEFT_OUT_AFTER
        yield from installation_metrics(settings.VERSION, current_revision())
        yield from shipper_metrics(list(ShipperStatus.objects.filter(updated_at__gte=since)))
        yield from worker_metrics(list(Worker.objects.filter(seen_at__gte=since)))


def installation_metrics(version: str, revision: int) -> Iterable[Metric]:
    yield InfoMetricFamily(
        "gatehouse", "The version of the process that answers.", value={"version": version}
    )
    yield _gauge(
        "configuration_revision", "Number of the newest committed configuration.", [], [((), revision)]
    )


def shipper_metrics(statuses: list[ShipperStatus]) -> Iterable[Metric]:
    """Of each sink on each node; the spool is one of each node, whatever sinks it has."""
    labels = ["node", "sink"]
    rows = [((status.node, status.sink), status) for status in statuses]
    yield _counter(
        "audit_delivered",
        "Audit records that a sink has taken.",
        labels,
        [(values, status.delivered) for values, status in rows],
    )
    yield _counter(
        "audit_delivery_failures",
        "Attempts to deliver audit records that did not succeed.",
        labels,
        [(values, status.failed) for values, status in rows],
    )
    yield _counter(
        "audit_undeliverable",
        "Audit records set aside after the last attempt.",
        labels,
        [(values, status.undeliverable) for values, status in rows],
    )
    yield _gauge(
        "audit_lag_seconds",
        "How old the oldest audit record is that a sink has yet to take, by the last report.",
        labels,
        [(values, status.lag_seconds) for values, status in rows],
    )
    spools = {
        status.node: status.spool_bytes for status in sorted(statuses, key=lambda each: each.updated_at)
    }
    yield _gauge(
        "audit_spool_bytes",
        "Size of the audit spool of a node.",
        ["node"],
        [((node,), size) for node, size in sorted(spools.items())],
    )


def worker_metrics(workers: list[Worker]) -> Iterable[Metric]:
    """Of each process of the data plane."""
    labels = ["node", "pid"]
    rows = [((worker.node, str(worker.pid)), worker) for worker in workers]
    yield _counter(
        "audit_recorded",
        "Audit records that a worker has stored in the spool.",
        labels,
        [(values, worker.audit_recorded) for values, worker in rows],
    )
    yield _counter(
        "audit_dropped",
        "Audit records that a worker could not store: they are lost.",
        labels,
        [(values, worker.audit_dropped) for values, worker in rows],
    )
    yield _gauge(
        "worker_revision",
        "Number of the configuration that a worker serves.",
        labels,
        [(values, worker.revision) for values, worker in rows],
    )
    yield _gauge(
        "worker_problem",
        "1 while a worker has a row of the configuration that it can't serve.",
        labels,
        [(values, int(bool(worker.problem))) for values, worker in rows],
    )
    yield _gauge(
        "worker_start_time_seconds",
        "When a worker started, in seconds since 1970.",
        labels,
        [(values, worker.started_at.timestamp()) for values, worker in rows],
    )
    yield _gauge(
        "worker_report_time_seconds",
        "When a worker last reported, in seconds since 1970.",
        labels,
        [(values, worker.seen_at.timestamp()) for values, worker in rows],
    )


def _counter(name: str, words: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    # Its samples are called NAME_total.
    return _filled(CounterMetricFamily(f"gatehouse_{name}", words, labels=labels), samples)


def _gauge(name: str, words: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    return _filled(GaugeMetricFamily(f"gatehouse_{name}", words, labels=labels), samples)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, samples: Iterable[Sample]
) -> CounterMetricFamily | GaugeMetricFamily:
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


# Not the library's own registry: that one tells of the process which happens to answer.
REGISTRY = CollectorRegistry()
REGISTRY.register(ReportCollector())
