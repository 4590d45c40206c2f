"""What the gateway's processes say of themselves in the database, as metrics. Reads rows and nothing else.

Every process has the same rows to read, so that any one can answer for all.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

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
COUNTER, GAUGE = CounterMetricFamily, GaugeMetricFamily
Kind = type[CounterMetricFamily] | type[GaugeMetricFamily]


class Figure(NamedTuple):
    """One figure of a report. The samples of a counter are called NAME_total."""

    kind: Kind
    name: str
    help: str
    read: Callable[[Any], float]


OF_SINKS = (
    Figure(
        COUNTER,
        "gatehouse_audit_delivered",
        "Audit records that a sink has taken.",
        lambda status: status.delivered,
    ),
    Figure(
        COUNTER,
        "gatehouse_audit_delivery_failures",
        "Attempts to deliver audit records that did not succeed.",
        lambda status: status.failed,
    ),
    Figure(
        COUNTER,
        "gatehouse_audit_undeliverable",
        "Audit records set aside after the last attempt.",
        lambda status: status.undeliverable,
    ),
    Figure(
        GAUGE,
        "gatehouse_audit_lag_seconds",
        "How old the oldest audit record is that a sink has yet to take, by the last report.",
        lambda status: status.lag_seconds,
    ),
)
# One spool of a node, whatever sinks it has: with their label, a sum would count it several times.
OF_SPOOLS = (
    Figure(
        GAUGE,
        "gatehouse_audit_spool_bytes",
        "Size of the audit spool of a node.",
        lambda status: status.spool_bytes,
    ),
)
OF_WORKERS = (
    Figure(
        COUNTER,
        "gatehouse_audit_recorded",
        "Audit records that a worker has stored in the spool.",
        lambda worker: worker.audit_recorded,
    ),
    Figure(
        COUNTER,
        "gatehouse_audit_dropped",
        "Audit records that a worker could not store: they are lost.",
        lambda worker: worker.audit_dropped,
    ),
    Figure(
        GAUGE,
        "gatehouse_worker_revision",
        "Number of the configuration that a worker serves.",
        lambda worker: worker.revision,
    ),
    Figure(
        GAUGE,
        "gatehouse_worker_problem",
        "1 while a worker has a row of the configuration that it can't serve.",
        lambda worker: bool(worker.problem),
    ),
    Figure(
        GAUGE,
        "gatehouse_worker_start_time_seconds",
        "When a worker started, in seconds since 1970.",
        lambda worker: worker.started_at.timestamp(),
    ),
    Figure(
        GAUGE,
        "gatehouse_worker_report_time_seconds",
        "When a worker last reported, in seconds since 1970.",
        lambda worker: worker.seen_at.timestamp(),
    ),
)


class ReportCollector(Collector):
    """The installation's own figures, those of its audit shippers and those of its workers."""

    def collect(self) -> Iterator[Metric]:
        """Raises django.db.OperationalError without the database."""
        since = timezone.now() - LEFT_OUT_AFTER
        statuses = list(ShipperStatus.objects.filter(updated_at__gte=since).order_by("updated_at"))
        workers = list(Worker.objects.filter(seen_at__gte=since))
        newest = {status.node: status for status in statuses}
        yield InfoMetricFamily(
            "gatehouse", "Version of the process that answers.", {"version": settings.VERSION}
        )
        yield GaugeMetricFamily(
            "gatehouse_configuration_revision",
            "Number of the newest committed configuration.",
            current_revision(),
        )
        yield from _metrics(OF_SINKS, ["node", "sink"], statuses)
        yield from _metrics(OF_SPOOLS, ["node"], list(newest.values()))
        yield from _metrics(OF_WORKERS, ["node", "pid"], workers)


def _metrics(figures: Iterable[Figure], labels: list[str], reports: list[Any]) -> Iterator[Metric]:
    """A metric of each figure with a sample of each report; the labels are fields of the report."""
    for figure in figures:
        metric = figure.kind(figure.name, figure.help, labels=labels)
        for report in reports:
            metric.add_metric([str(getattr(report, label)) for label in labels], figure.read(report))
        yield metric


# Not the library's own registry: that one tells of the process which happens to answer.
REGISTRY = CollectorRegistry()
REGISTRY.register(ReportCollector())
