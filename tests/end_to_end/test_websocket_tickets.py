"""Single-use tickets: what a browser opens a WebSocket with, as it can't set a header."""

import threading

import pytest

from tests.end_to_end.configuration import ALICE_KEY, websocket_configuration
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import RawResponse
from tests.end_to_end.raw_websocket import TEXT, RawWebSocket
from tests.end_to_end.websocket_upstream import WebSocketUpstream
from tests.services.redis import RedisServer


def ask(gateway: GatewayProcess, headers: dict[str, str]) -> RawResponse:
    return gateway.request("POST", "/auth/ws-ticket", headers=headers, host="localhost")


@pytest.fixture(scope="module", params=["in memory", "redis"])
def issuer(
    request: pytest.FixtureRequest,
    start_gateway: StartGateway,
    sockets: WebSocketUpstream,
    redis_server: RedisServer,
) -> GatewayProcess:
    """A gateway that keeps its tickets in memory, and two workers that share them through Redis."""
    if request.param == "in memory":
        return start_gateway(websocket_configuration(sockets.url))
    return start_gateway(
        websocket_configuration(sockets.url),
        environment={"GATEWAY_REDIS_URL": redis_server.url},
        arguments=["--workers", "2"],
    )


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_ticket_opens_one_socket_and_no_second(
    issuer: GatewayProcess, sockets: WebSocketUpstream, name: str, header: str
) -> None:
    answer = ask(issuer, {header: ALICE_KEY if header == "X-API-Key" else f"Bearer {ALICE_KEY}"})
    assert answer.status == 201
    assert answer.header("Cache-Control") == b"no-store"
    assert answer.json()["expires_in"] == 30
    target = f"/private/{name}/echo?a=1&ticket={answer.json()['ticket']}&b=2"
    with RawWebSocket(issuer.port, target) as client:
        assert client.echo(TEXT, b"hello").payload == b"hello"
        # The ticket counted once, its key goes on counting: the connection is asked about and stays.
        assert client.client.is_silent(4)
        assert client.echo(TEXT, b"still here").payload == b"still here"
    arrival = sockets.wait_for(f"/private/{name}/echo")
    assert arrival.path.endswith("?a=1&b=2")
    assert arrival.values("X-User-Name") == ["alice"]
    with RawWebSocket(issuer.port, target) as again:
        assert (again.response.status, again.response.error_code) == (401, "credential_invalid")
    assert answer.json()["ticket"] not in issuer.log()


def test_of_many_uses_at_once_exactly_one_succeeds(issuer: GatewayProcess) -> None:
    ticket = ask(issuer, {"X-API-Key": ALICE_KEY}).json()["ticket"]
    statuses: list[int] = []
    gate = threading.Barrier(20)

    def use() -> None:
        gate.wait(10)
        with RawWebSocket(issuer.port, f"/private/echo?ticket={ticket}") as client:
            statuses.append(client.response.status)

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [101] + [401] * 19


@pytest.mark.parametrize(
    "headers, code",
    [
        ({}, "credential_missing"),
        ({"X-API-Key": "wrong"}, "credential_invalid"),
        ({"Authorization": "Bearer wrong"}, "credential_invalid"),
    ],
    ids=["nothing", "unknown key", "unknown token"],
)
def test_nobody_gets_no_ticket(issuer: GatewayProcess, headers: dict[str, str], code: str) -> None:
    answer = ask(issuer, headers)
    assert (answer.status, answer.error_code) == (401, code)
    assert answer.header("WWW-Authenticate")


def test_ticket_is_audited_with_its_owner_and_its_use(issuer: GatewayProcess, name: str) -> None:
    answer = ask(issuer, {"X-API-Key": ALICE_KEY, "X-Request-ID": f"ticket-{name}"})
    record = issuer.wait_for_audit(request_id=f"ticket-{name}")
    assert (record["event"], record["principal"]) == ("ticket_issued", "alice")
    path = f"/private/{name}/echo"
    with RawWebSocket(issuer.port, f"{path}?ticket={answer.json()['ticket']}") as client:
        assert client.is_open
    assert issuer.wait_for_audit(event="ws_connected", path=path)["principal"] == "alice"


def test_ticket_is_worth_nothing_for_a_plain_request(issuer: GatewayProcess) -> None:
    ticket = ask(issuer, {"X-API-Key": ALICE_KEY}).json()["ticket"]
    assert issuer.request("GET", f"/private/echo?ticket={ticket}").status == 401
    with RawWebSocket(issuer.port, f"/private/echo?ticket={ticket}") as client:
        assert client.is_open


def test_ticket_of_a_revoked_key_opens_nothing(issuer: GatewayProcess, name: str) -> None:
    issuer.execute("from accounts.models import Principal\nPrincipal.objects.create(name=name)", name=name)
    ticket = ask(issuer, {"X-API-Key": issuer.issue_key(name)}).json()["ticket"]
    issuer.execute(
        "from accounts.models import ApiKey\nfrom accounts.keys import revoke_key\n"
        "revoke_key(ApiKey.objects.get(principal__name=name))",
        name=name,
    )
    with RawWebSocket(issuer.port, f"/private/echo?ticket={ticket}") as client:
        assert (client.response.status, client.response.error_code) == (401, "credential_invalid")
