"""Where the audit is required, nothing happens that can't be recorded; elsewhere it is only counted."""

import pytest

from tests.end_to_end.configuration import shared_configuration
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.stub_upstream import StubUpstream

# A spool smaller than its first segment never has room.
NO_ROOM = {"GATEWAY_AUDIT_SPOOL_BYTES": "1000"}


@pytest.mark.parametrize("fsync", ["interval", "always"])
def test_request_is_refused_before_the_upstream_when_its_record_has_no_room(
    start_gateway: StartGateway, upstream: StubUpstream, name: str, fsync: str
) -> None:
    environment = {**NO_ROOM, "GATEWAY_AUDIT_REQUIRED": "true", "GATEWAY_AUDIT_FSYNC": fsync}
    gateway = start_gateway(
        shared_configuration(upstream.url), environment=environment, arguments=["--role", "data"]
    )
    answer = gateway.request("GET", f"/open/{name}")
    assert (answer.status, answer.error_code) == (503, "audit_unavailable")
    assert gateway.request("GET", f"/private/{name}").status == 503
    assert name.encode() not in upstream.received_bytes()


@pytest.mark.parametrize("fsync", ["interval", "always"])
def test_required_record_is_stored_when_there_is_room(
    start_gateway: StartGateway, upstream: StubUpstream, name: str, fsync: str
) -> None:
    environment = {"GATEWAY_AUDIT_REQUIRED": "true", "GATEWAY_AUDIT_FSYNC": fsync}
    gateway = start_gateway(shared_configuration(upstream.url), environment=environment)
    assert gateway.request("GET", f"/open/{name}").status == 200
    assert gateway.request("GET", f"/private/{name}").status == 401
    assert gateway.wait_for_audit(path=f"/open/{name}")["status"] == 200
    assert gateway.wait_for_audit(path=f"/private/{name}")["status"] == 401


def test_request_is_served_without_a_record_where_none_is_required(
    start_gateway: StartGateway, upstream: StubUpstream, name: str
) -> None:
    gateway = start_gateway(
        shared_configuration(upstream.url), environment=NO_ROOM, arguments=["--role", "data"]
    )
    assert gateway.request("GET", f"/open/{name}").status == 200
    assert "audit records are being dropped" in gateway.log()
