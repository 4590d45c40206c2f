"""/metrics of a running gateway: who may ask, in which way, and that its figures are those of the processes."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.configuration import configuration
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import RawResponse, request_bytes
from tests.services.deadline import wait_until
from tests.services.postgresql import PostgresqlServer
from tests.services.redis import RedisServer

CREATE = """
from django.contrib.auth.models import Permission
from accounts.keys import issue_key
from accounts.models import Principal
secrets = {}
for name in permissions:
    principal = Principal.objects.create_user(name, is_staff=True)
    principal.user_permissions.set(Permission.objects.filter(codename__in=permissions[name]))
    secrets[name] = issue_key(principal, name).secret
secrets
"""
PERMISSIONS = {"prometheus": ["view_shipperstatus"], "auditor": ["view_auditrecord"]}


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway) -> GatewayProcess:
    """A gateway whose spool has no room for a single segment: every record is dropped."""
    return start_gateway(
        configuration([], []),
        environment={"GATEWAY_AUDIT_SPOOL_BYTES": "1000", "GATEWAY_NODE": 'edge "1"\n'},
    )


@pytest.fixture(scope="module")
def keys(gateway: GatewayProcess) -> dict[str, str]:
    secrets: dict[str, str] = gateway.execute(CREATE, permissions=PERMISSIONS)
    return secrets


def ask(gateway: GatewayProcess, *lines: str, target: str = "/metrics", method: str = "GET") -> RawResponse:
    return gateway.exchange(request_bytes(target, *lines, method=method, host="localhost"))


def figures(answer: RawResponse) -> dict[str, float]:
    """Of the one worker."""
    assert answer.status == 200, answer.body
    families = text_string_to_metric_families(answer.body.decode())
    return {
        each.name: each.value
        for family in families
        for each in family.samples
        if each.labels.get("node", 'edge "1"\n') == 'edge "1"\n'
    }


@pytest.mark.parametrize("target", ["/metrics", "/v1/metrics"])
@pytest.mark.parametrize("form", ["X-API-Key: {}", "Authorization: Bearer {}"])
def test_key_with_the_permission_is_answered_at_both_addresses(
    gateway: GatewayProcess, keys: dict[str, str], target: str, form: str
) -> None:
    answer = ask(gateway, form.format(keys["prometheus"]), target=target)
    assert answer.header("Content-Type") == b"text/plain; version=0.0.4; charset=utf-8"
    assert answer.header("Cache-Control") == b"no-store"
    assert figures(answer)["gatehouse_info"] == 1


@pytest.mark.parametrize("target", ["/metrics", "/v1/metrics"])
@pytest.mark.parametrize(
    "name, status, code",
    [(None, 401, "credential_missing"), ("wrong", 401, "credential_invalid"), ("auditor", 403, "forbidden")],
)
def test_others_are_refused(
    gateway: GatewayProcess, keys: dict[str, str], target: str, name: str | None, status: int, code: str
) -> None:
    lines = [f"X-API-Key: {keys.get(name, name)}"] if name else []
    answer = ask(gateway, *lines, "Accept: text/plain", target=target)
    assert (answer.status, answer.error_code) == (status, code)
    assert (answer.header("WWW-Authenticate") is not None) == (status == 401)


def test_head_is_answered_without_a_body(gateway: GatewayProcess, keys: dict[str, str]) -> None:
    with gateway.connect() as client:
        for _ in range(2):
            answer = client.request("HEAD", "/metrics", {"X-API-Key": keys["prometheus"]}, host="localhost")
            assert answer.status == 200
            assert answer.header("Content-Type") == b"text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(gateway: GatewayProcess, keys: dict[str, str], method: str) -> None:
    answer = ask(gateway, f"X-API-Key: {keys['prometheus']}", method=method)
    assert (answer.status, answer.error_code) == (405, "method_not_allowed")
    assert answer.header("Allow") == b"GET, HEAD, OPTIONS"


def test_records_that_a_worker_drops_are_counted_within_its_report(
    gateway: GatewayProcess, keys: dict[str, str]
) -> None:
    key = f"X-API-Key: {keys['prometheus']}"
    before = figures(ask(gateway, key))["gatehouse_audit_dropped_total"]
    for _ in range(5):
        assert gateway.request("GET", "/nothing").status == 404
    wait_until(
        lambda: figures(ask(gateway, key))["gatehouse_audit_dropped_total"] >= before + 5,
        "the drops are reported",
        10,
    )
    found = figures(ask(gateway, key))
    assert found["gatehouse_audit_recorded_total"] == 0
    assert found["gatehouse_worker_revision"] == found["gatehouse_configuration_revision"]


def test_any_worker_answers_for_all(start_gateway: StartGateway, redis_server: RedisServer) -> None:
    gateway = start_gateway(
        configuration([], []),
        environment={"GATEWAY_REDIS_URL": redis_server.url},
        arguments=["--workers", "2"],
    )
    key = f"X-API-Key: {gateway.execute(CREATE, permissions=PERMISSIONS)['prometheus']}"
    for _ in range(10):
        answer = ask(gateway, key)
        assert len(set(re.findall(rb'gatehouse_worker_revision.*pid="(\d+)"', answer.body))) == 2


def test_data_plane_alone_has_no_metrics(start_gateway: StartGateway) -> None:
    data = start_gateway(configuration([], []), arguments=["--role", "data"])
    answer = data.request("GET", "/metrics")
    assert (answer.status, answer.error_code) == (404, "route_not_found")


def test_figures_of_the_shipper_are_answered_and_a_database_that_is_down_is_said(
    start_gateway: StartGateway, own_postgresql: PostgresqlServer
) -> None:
    environment = {"GATEWAY_DATABASE_URL": own_postgresql.new_database(), "GATEWAY_NODE": "edge-2"}
    gateway = start_gateway(configuration([], []), environment=environment)
    key = f"X-API-Key: {gateway.execute(CREATE, permissions=PERMISSIONS)['prometheus']}"

    def metrics() -> str:
        answer = ask(gateway, key)
        assert answer.status == 200, answer.body
        return answer.body.decode()

    wait_until(
        lambda: re.search(
            r'gatehouse_audit_delivered_total\{node="edge-2",sink="database"\} [1-9]', metrics()
        ),
        "the shipper has reported a delivery",
        20,
    )
    assert re.search(r'gatehouse_audit_spool_bytes\{node="edge-2"\} [1-9]', metrics())
    own_postgresql.stop()
    answer = ask(gateway, key)
    assert (answer.status, answer.error_code) == (503, "unavailable")
    assert answer.header("Retry-After") == b"5"
    own_postgresql.start()
    assert "gatehouse_audit_recorded_total" in metrics()
    gateway.stop(may_log_tracebacks=True)
