"""The metrics that are made of the reports in the database, read back by the library's own parsers."""

import re
from datetime import timedelta
from typing import Any

import pytest
import yaml
from django.test import Client
from django.utils import timezone
from prometheus_client import openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import Principal
from accounts.revisions import current_revision
from auditlog.models import ShipperStatus
from gateway_site import __version__
from gateway_site.metrics import LEFT_OUT_AFTER
from routing.models import Worker
from tests.architecture.sources import PROJECT_DIR

pytestmark = pytest.mark.django_db
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
STRANGE = 'a "node"\n\\n=back\\slash\\, naïve{1}'


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(Principal.objects.create_superuser("root"))
    return client


def sample(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def samples_of(families: Any) -> Samples:
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for family in families
        for each in family.samples
    }


def scrape(client: Client, **headers: str) -> Samples:
    response = client.get("/metrics", **headers)
    assert response.status_code == 200, response.content
    return samples_of(text_string_to_metric_families(response.content.decode()))


def a_worker(node: str = "edge-1", pid: int = 41, age: timedelta = timedelta(), **fields: Any) -> Worker:
    now = timezone.now()
    return Worker.objects.create(node=node, pid=pid, role="all", started_at=now, seen_at=now - age, **fields)


def a_status(node: str, sink: str, age: timedelta = timedelta(), **figures: Any) -> ShipperStatus:
    return ShipperStatus.objects.create(node=node, sink=sink, updated_at=timezone.now() - age, **figures)


def test_sinks_are_told_apart_and_the_spool_is_counted_once_a_node(staff: Client) -> None:
    a_status("n", "database", delivered=2**40, failed=2, undeliverable=3, lag_seconds=1.5, spool_bytes=4096)
    a_status("n", "file", delivered=7, spool_bytes=4096)
    found = scrape(staff)
    assert found[sample("gatehouse_audit_delivered_total", node="n", sink="database")] == 2**40
    assert found[sample("gatehouse_audit_delivered_total", node="n", sink="file")] == 7
    assert found[sample("gatehouse_audit_delivery_failures_total", node="n", sink="database")] == 2
    assert found[sample("gatehouse_audit_undeliverable_total", node="n", sink="database")] == 3
    assert found[sample("gatehouse_audit_lag_seconds", node="n", sink="database")] == 1.5
    spools = [key for key in found if key[0] == "gatehouse_audit_spool_bytes"]
    assert spools == [sample("gatehouse_audit_spool_bytes", node="n")]


def test_workers_are_told_apart_by_node_and_pid(staff: Client) -> None:
    worker = a_worker(audit_recorded=1_000_000, audit_dropped=12, revision=9, problem="route 'r'")
    a_worker(pid=42)
    found = scrape(staff)
    labels = {"node": "edge-1", "pid": "41"}
    assert found[sample("gatehouse_audit_recorded_total", **labels)] == 1_000_000
    assert found[sample("gatehouse_audit_dropped_total", **labels)] == 12
    assert found[sample("gatehouse_worker_revision", **labels)] == 9
    assert found[sample("gatehouse_worker_problem", **labels)] == 1
    started = found[sample("gatehouse_worker_start_time_seconds", **labels)]
    assert started == pytest.approx(worker.started_at.timestamp())
    reported = found[sample("gatehouse_worker_report_time_seconds", **labels)]
    assert reported == pytest.approx(worker.seen_at.timestamp())
    assert found[sample("gatehouse_worker_problem", node="edge-1", pid="42")] == 0


def test_installation_names_its_version_and_newest_revision(staff: Client) -> None:
    found = scrape(staff)
    assert found[sample("gatehouse_info", version=__version__)] == 1
    assert found[sample("gatehouse_configuration_revision")] == current_revision()


def test_reports_that_stopped_coming_are_left_out(staff: Client) -> None:
    for name, age in (("fresh", LEFT_OUT_AFTER / 2), ("silent", LEFT_OUT_AFTER * 1.1)):
        a_worker(node=name, age=age)
        a_status(name, "database", age=age)
    nodes = {dict(labels)["node"] for _, labels in scrape(staff) if "node" in dict(labels)}
    assert nodes == {"fresh"}


def test_name_of_a_node_can_be_no_sample_of_its_own(staff: Client) -> None:
    a_worker(node=STRANGE, audit_dropped=5)
    a_status(STRANGE, "file", delivered=6)
    for found in (
        scrape(staff),
        samples_of(
            read_openmetrics(
                staff.get("/metrics", HTTP_ACCEPT="application/openmetrics-text").content.decode()
            )
        ),
    ):
        assert found[sample("gatehouse_audit_dropped_total", node=STRANGE, pid="41")] == 5
        assert found[sample("gatehouse_audit_delivered_total", node=STRANGE, sink="file")] == 6


def test_every_metric_has_its_help_its_type_and_the_name_of_the_product(staff: Client) -> None:
    a_worker()
    a_status("n", "file")
    families = list(text_string_to_metric_families(staff.get("/metrics").content.decode()))
    assert len(families) >= 13
    for family in families:
        assert family.name.startswith("gatehouse_")
        assert family.documentation
        assert family.type in ("counter", "gauge")


def test_documentation_names_every_metric_and_no_other(staff: Client) -> None:
    a_worker()
    a_status("n", "file")
    document = (PROJECT_DIR / "docs" / "monitoring.md").read_text()
    assert set(re.findall(r"\bgatehouse_\w+", document)) == {name for name, _ in scrape(staff)}


def test_scrape_configuration_of_the_documentation_asks_for_what_there_is(staff: Client) -> None:
    document = (PROJECT_DIR / "docs" / "monitoring.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", document, re.DOTALL)]
    (job,) = next(block["scrape_configs"] for block in blocks if "scrape_configs" in block)
    assert staff.get(job["metrics_path"]).status_code == 200
    assert job["authorization"]["type"] == "Bearer"
    assert any("groups" in block for block in blocks)


@pytest.mark.parametrize(
    "accept, content_type",
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("image/png", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("text/plain;version=one", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text", openmetrics.exposition.CONTENT_TYPE_LATEST),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
    ],
)
def test_client_gets_the_form_that_it_asks_for(staff: Client, accept: str, content_type: str) -> None:
    response = staff.get("/metrics", HTTP_ACCEPT=accept)
    assert (response.status_code, response["Content-Type"]) == (200, content_type)
    assert response["Cache-Control"] == "no-store"


def test_queries_are_as_many_for_many_rows_as_for_few(staff: Client, django_assert_num_queries: Any) -> None:
    # Session, user, revision, shippers, workers.
    for count in (1, 30):
        for number in range(count):
            a_worker(pid=1000 * count + number)
            a_status(f"n{count}-{number}", "file")
        with django_assert_num_queries(5):
            staff.get("/metrics")


def test_refusal_is_the_envelope_whatever_the_client_accepts(client: Client) -> None:
    response = client.get("/metrics", HTTP_ACCEPT="application/openmetrics-text")
    assert (response.status_code, response["Content-Type"]) == (401, "application/json")
    assert response.json()["error"]["code"] == "credential_missing"
