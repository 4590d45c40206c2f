"""A gateway for tests of client connections, and what it answers and records."""

import json
from typing import Any

from tests.end_to_end.configuration import configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import ConnectionEnded, RawClient, RawResponse
from tests.end_to_end.stub_upstream import StubUpstream


def small_gateway(start_gateway: StartGateway, upstream: StubUpstream) -> GatewayProcess:
    services = [
        service("stub", upstream.url),
        service("patient", upstream.url, timeouts={"connect": 2, "response": 30, "idle": 30}),
    ]
    routes = [
        route("open", "/open"),
        route("patient", "/patient", to="patient"),
        route("small", "/small", max_body_bytes=100),
        route("private", "/private", access="authenticated"),
    ]
    return start_gateway(configuration(services, routes))


def read_all(client: RawClient) -> list[RawResponse]:
    """Every response until the gateway closes."""
    found = []
    try:
        while True:
            found.append(client.read_response())
    except (ConnectionEnded, ConnectionResetError):
        return found


def statuses(client: RawClient) -> list[int]:
    return [answer.status for answer in read_all(client)]


def audited(running: GatewayProcess, **fields: Any) -> dict[str, Any]:
    """All that the audit has to say of a request."""
    record: dict[str, Any] = json.loads(running.wait_for_audit(**fields)["body"])
    return record
