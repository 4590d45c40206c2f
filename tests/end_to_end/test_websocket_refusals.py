"""WebSockets that are not opened: before the upgrade, with a status and the envelope."""

import pytest

from tests.end_to_end.configuration import ALICE_KEY, BOB_KEY
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_websocket import TEXT, RawWebSocket
from tests.end_to_end.websocket_upstream import REFUSAL, WebSocketUpstream

REFUSED = [
    pytest.param("/private/echo", {}, 401, "credential_missing", id="nothing sent"),
    pytest.param("/private/echo", {"X-API-Key": "wrong"}, 401, "credential_invalid", id="unknown key"),
    pytest.param(f"/private/echo?api_key={ALICE_KEY}", {}, 401, "credential_invalid", id="no query key here"),
    pytest.param("/private/echo?ticket=" + "t" * 43, {}, 401, "credential_invalid", id="invented ticket"),
    pytest.param("/orders/echo", {"X-API-Key": BOB_KEY}, 403, "grant_missing", id="no grant"),
    pytest.param("/unknown/echo", {}, 404, "route_not_found", id="no route"),
    pytest.param("/no-sockets/echo", {}, 404, "websocket_not_served", id="route without sockets"),
    pytest.param("/open/%2e%2e/echo", {}, 400, "bad_target", id="dot segments"),
    pytest.param("/open/echo", {"X-Custom": "a\x01b"}, 400, "bad_framing", id="control character"),
    pytest.param("/nowhere/echo", {}, 502, "upstream_unreachable", id="nobody listens"),
    pytest.param("/open/echo", {"Origin": "https://evil.example"}, 403, "origin_not_allowed", id="origin"),
    pytest.param("/open/echo", {"Origin": "null"}, 403, "origin_not_allowed", id="origin null"),
    pytest.param(
        "/listed/echo", {"Origin": "http://gateway.test"}, 403, "origin_not_allowed", id="own host not listed"
    ),
]


@pytest.mark.parametrize("target, headers, status, code", REFUSED)
def test_refusal_is_answered_before_the_upgrade_and_audited(
    relay: GatewayProcess, name: str, target: str, headers: dict[str, str], status: int, code: str
) -> None:
    with RawWebSocket(relay.port, target, {"X-Request-ID": f"refused-{name}", **headers}) as client:
        response = client.response
    assert (response.status, response.error_code) == (status, code)
    assert response.header("X-Request-ID") == f"refused-{name}".encode()
    record = relay.wait_for_audit(request_id=f"refused-{name}")
    assert record["status"] == status


@pytest.mark.parametrize(
    "route, origin",
    [
        ("open", "http://gateway.test"),
        ("open", "HTTP://GATEWAY.TEST:80"),
        ("listed", "https://app.example.com"),
        ("listed", "https://APP.example.com"),
        ("any", "https://anywhere.example"),
    ],
)
def test_page_of_a_permitted_origin_may_open_a_socket(relay: GatewayProcess, route: str, origin: str) -> None:
    with RawWebSocket(relay.port, f"/{route}/echo", {"Origin": origin}) as client:
        assert client.is_open


def test_refusal_of_the_upstream_reaches_the_client_with_status_and_body(
    relay: GatewayProcess, sockets: WebSocketUpstream
) -> None:
    with RawWebSocket(relay.port, "/open/refuse") as client:
        response = client.response
    assert (response.status, response.body) == (403, REFUSAL)
    assert response.header("X-Upstream") == b"says no"
    assert response.header("Content-Type") == b"application/json"


@pytest.mark.parametrize(
    "target, headers",
    [
        ("/private/echo", {"X-API-Key": ALICE_KEY}),
        ("/private/echo", {"Authorization": f"Bearer {ALICE_KEY}"}),
        (f"/query/echo?api_key={ALICE_KEY}", {}),
    ],
    ids=["header", "bearer", "query"],
)
def test_key_is_taken_in_each_of_the_three_ways(
    relay: GatewayProcess, sockets: WebSocketUpstream, target: str, headers: dict[str, str]
) -> None:
    with RawWebSocket(relay.port, target, headers) as client:
        assert client.echo(TEXT, b"hello").payload == b"hello"
    assert all(ALICE_KEY not in arrival.path for arrival in list(sockets.arrivals))
    assert ALICE_KEY not in relay.log()


def test_plain_request_to_a_socket_route_is_proxied_as_such(relay: GatewayProcess) -> None:
    # The upstream speaks WebSocket only: 426 is its own answer to a plain request.
    assert relay.request("GET", "/open/echo").status == 426


def test_unknown_socket_of_the_control_plane_is_refused(relay: GatewayProcess) -> None:
    with RawWebSocket(relay.port, "/admin/nothing/", host=f"127.0.0.1:{relay.port}") as client:
        assert client.response.status == 403
