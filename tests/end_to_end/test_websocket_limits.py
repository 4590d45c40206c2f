"""Limits of a relayed WebSocket: size, rate, age, idleness, number; and upstreams that misbehave."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.certificates import CertificateAuthority
from tests.end_to_end.configuration import configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import RawClient
from tests.end_to_end.raw_websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    close_bytes,
    frame_bytes,
)
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_connection import UpstreamConnection
from tests.end_to_end.upstream_script import Step
from tests.end_to_end.websocket_upstream import WebSocketUpstream
from tests.services.deadline import wait_until


def test_message_beyond_the_limit_closes_with_1009_and_never_arrives(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    path = f"/small/{name}/echo"
    with RawWebSocket(relay.port, path) as client:
        assert client.echo(BINARY, bytes(1000)).payload == bytes(1000)
        client.send(BINARY, bytes(1001))
        assert client.read_frame().close_code == 1009
    assert len(sockets.wait_until_ended(path).messages) == 1
    log = relay.wait_for_log(event="ws_disconnected", path=path)
    assert (log["close_code"], log["closed_by"]) == (1009, "gateway")


def test_message_of_the_upstream_beyond_the_limit_closes_with_1009(relay: GatewayProcess) -> None:
    with RawWebSocket(relay.port, "/small/flood") as client:
        assert client.read_frame().close_code == 1009


def test_more_messages_than_the_rate_close_with_4429(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    path = f"/rate/{name}/silent"
    with RawWebSocket(relay.port, path) as client:
        client.send_bytes(frame_bytes(TEXT, b"x") * 60)
        assert client.read_frame().close_code == 4429
    # One second's worth, and what came in while they were counted.
    assert 20 <= len(sockets.wait_until_ended(path).messages) < 40


def test_more_bytes_than_the_rate_close_with_4429(relay: GatewayProcess) -> None:
    with RawWebSocket(relay.port, "/bytes/silent") as client:
        client.send(BINARY, bytes(6_000))
        client.send(BINARY, bytes(6_000))
        assert client.read_frame().close_code == 4429


@pytest.mark.parametrize("route_name", ["young", "busy"])
def test_connection_ends_at_its_longest_life_and_when_idle(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str, route_name: str
) -> None:
    path = f"/{route_name}/{name}/silent"
    with RawWebSocket(relay.port, path) as client:
        frame = client.read_frame()
    assert (frame.opcode, frame.close_code) == (CLOSE, 1001)
    assert sockets.wait_until_ended(path).close_code == 1001


def test_one_connection_more_than_allowed_is_refused_until_another_ends(relay: GatewayProcess) -> None:
    with RawWebSocket(relay.port, "/few/echo") as first, RawWebSocket(relay.port, "/few/echo") as second:
        assert first.is_open
        assert second.is_open
        with RawWebSocket(relay.port, "/few/echo") as third:
            assert (third.response.status, third.response.error_code) == (429, "too_many_connections")
            assert third.response.header("Retry-After") == b"1"
        first.send_close(1000)
        first.read_frame()

        def opens() -> bool:
            with RawWebSocket(relay.port, "/few/echo") as another:
                return another.is_open

        wait_until(opens, "room for one more")


# --- upstreams that misbehave, on raw sockets ---------------------------------------------


def upgrade(*frames: bytes, accept: bytes | None = None) -> Step:
    """Switch protocols and send these bytes at once."""

    def step(connection: UpstreamConnection) -> None:
        import base64
        import hashlib

        key = connection.request.header("Sec-WebSocket-Key") or b""
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        answer = accept or base64.b64encode(digest)
        connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + answer + b"\r\n\r\n" + b"".join(frames)
        )

    return step


def linger(seconds: float = 30.0) -> Step:
    """Keep the connection, reading what comes."""
    return lambda connection: connection.wait_for_hang_up(seconds)


def unmasked(opcode: int, payload: bytes = b"", **options: int | bool) -> bytes:
    return frame_bytes(opcode, payload, masked=False, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rude(start_gateway: StartGateway) -> tuple[GatewayProcess, StubUpstream]:
    stub = StubUpstream()
    gateway = start_gateway(
        configuration(
            [service("stub", stub.url, timeouts={"connect": 1, "response": 1, "idle": 5})],
            [
                route("sockets", "/sockets", websocket=True),
                route("pinged", "/pinged", websocket=True, websocket_options={"ping_interval": 1}),
            ],
        )
    )
    return gateway, stub


VIOLATIONS = [
    pytest.param(unmasked(TEXT, b"x", reserved=4), 1014, id="reserved bit"),
    pytest.param(unmasked(3, b"x"), 1014, id="unknown opcode"),
    pytest.param(unmasked(0, b"x"), 1014, id="continuation of nothing"),
    pytest.param(unmasked(TEXT, b"a", final=False) + unmasked(TEXT, b"b"), 1014, id="text within a message"),
    pytest.param(unmasked(TEXT, b"\xff\xfe"), 1014, id="not UTF-8"),
    pytest.param(unmasked(TEXT, b"\xce", final=False) + unmasked(0, b"\xce"), 1014, id="not UTF-8 in parts"),
    pytest.param(unmasked(PING, b"x" * 126), 1014, id="large ping"),
    pytest.param(unmasked(PING, b"x", final=False), 1014, id="fragmented ping"),
    pytest.param(frame_bytes(TEXT, b"masked"), 1014, id="masked"),
    pytest.param(unmasked(CLOSE, b"x"), 1014, id="close of one byte"),
    pytest.param(close_bytes(1005, masked=False), 1014, id="close 1005"),
    pytest.param(close_bytes(1006, masked=False), 1014, id="close 1006"),
    pytest.param(close_bytes(999, masked=False), 1014, id="close 999"),
    pytest.param(close_bytes(5000, masked=False), 1014, id="close 5000"),
    pytest.param(b"\x82\x7f" + (2**21).to_bytes(8, "big"), 1009, id="frame beyond the limit"),
]


@pytest.mark.parametrize("frames, code", VIOLATIONS)
def test_violation_of_the_upstream_ends_the_connection(
    rude: tuple[GatewayProcess, StubUpstream], name: str, frames: bytes, code: int
) -> None:
    gateway, stub = rude
    stub.script(f"/sockets/{name}", [upgrade(unmasked(TEXT, b"before"), frames), linger()])
    with RawWebSocket(gateway.port, f"/sockets/{name}") as client:
        received = client.read_message()
        if received.opcode != CLOSE:
            assert received.payload == b"before"
            received = client.read_message()
    assert received.close_code == code
    log = gateway.wait_for_log(event="ws_disconnected", path=f"/sockets/{name}")
    assert log["closed_by"] == "gateway"


def test_frames_in_the_packet_of_the_handshake_are_not_lost(
    rude: tuple[GatewayProcess, StubUpstream], name: str
) -> None:
    gateway, stub = rude
    early = unmasked(TEXT, b"early ", final=False) + unmasked(0, b"bird") + unmasked(PING, b"?")
    stub.script(f"/sockets/{name}", [upgrade(early, close_bytes(None, masked=False)), linger()])
    with RawWebSocket(gateway.port, f"/sockets/{name}") as client:
        assert client.read_message().payload == b"early bird"
        assert client.read_frame().opcode == CLOSE


@pytest.mark.parametrize(
    "answer, status, code",
    [
        pytest.param(upgrade(accept=b"d3Jvbmc="), 502, "upstream_invalid_response", id="wrong accept"),
        pytest.param(
            lambda connection: connection.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            502,
            "upstream_invalid_response",
            id="bare 101",
        ),
        pytest.param(lambda connection: connection.send(b"garbage\r\n\r\n"), 502, None, id="no HTTP"),
        pytest.param(lambda connection: connection.close(), 502, "upstream_unreachable", id="closes"),
        pytest.param(linger(5), 504, "upstream_timeout", id="hangs"),
    ],
)
def test_upstream_without_a_proper_handshake_is_answered_for(
    rude: tuple[GatewayProcess, StubUpstream], name: str, answer: Step, status: int, code: str | None
) -> None:
    gateway, stub = rude
    stub.script(f"/sockets/{name}", [answer])
    with RawWebSocket(gateway.port, f"/sockets/{name}") as client:
        assert client.response.status == status
        assert code is None or client.response.error_code == code


def test_client_that_leaves_before_the_answer_frees_the_upstream_at_once(
    start_gateway: StartGateway, start_upstream: Callable[..., StubUpstream], name: str
) -> None:
    stub = start_upstream()
    path = f"/sockets/{name}"
    gateway = start_gateway(
        configuration([service("stub", stub.url)], [route("sockets", "/sockets", "stub", websocket=True)])
    )
    stub.script(path, [linger()])
    with RawClient(gateway.port) as client:
        client.send(
            f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        request = stub.wait_for_request(path)
        left = time.monotonic()
    stub.wait_until_closed(request)
    assert time.monotonic() - left < 1
    assert '"abort":"client_left"' in gateway.wait_for_audit(path=path)["body"].replace(" ", "")
    gateway.stop()


def test_upstream_is_pinged_and_closed_with_1011_when_it_does_not_answer(
    rude: tuple[GatewayProcess, StubUpstream], name: str
) -> None:
    gateway, stub = rude
    stub.script(f"/pinged/{name}", [upgrade(), linger()])
    with RawWebSocket(gateway.port, f"/pinged/{name}", timeout_seconds=10) as client:
        assert client.read_message().close_code == 1011
    log = gateway.wait_for_log(event="ws_disconnected", path=f"/pinged/{name}")
    assert (log["closed_by"], log["close_reason"]) == ("gateway", "the service answers no ping")
    request = stub.wait_for_request(f"/pinged/{name}")
    sent = bytes(stub.connection_of(request).received).partition(b"\r\n\r\n")[2]
    assert sent[:2] == bytes([0x80 | PING, 0x80])


def test_client_is_pinged_and_closed_within_two_intervals_when_it_does_not_answer(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    path = f"/pinged/{name}/echo"
    with RawWebSocket(relay.port, path) as client:
        began = time.monotonic()
        assert client.read_frame().opcode == PING
        frame = client.read_frame()
        # Pings and deadlines are looked at once a second.
        assert time.monotonic() - began < 2 * 1 + 1.5
    assert (frame.close_code, frame.close_reason) == (1011, "the client answers no ping")
    assert sockets.wait_until_ended(path).close_code == 1001
    log = relay.wait_for_log(event="ws_disconnected", path=path)
    assert (log["close_code"], log["closed_by"]) == (1011, "gateway")


def test_two_peers_that_answer_pings_stay_connected(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    with RawWebSocket(relay.port, f"/pinged/{name}/echo") as client:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            frame = client.read_frame()
            assert frame.opcode == PING
            client.send(PONG, frame.payload)
        assert client.echo(TEXT, b"still here").payload == b"still here"


def test_upstream_over_tls_is_relayed_to_and_verified(
    start_gateway: StartGateway, certificate_authority: CertificateAuthority, tmp_path: Path, name: str
) -> None:
    trusted = StubUpstream(tls=certificate_authority.server_context(("127.0.0.1",)))
    stranger = StubUpstream(tls=CertificateAuthority(tmp_path).server_context(("127.0.0.1",)))
    gateway = start_gateway(
        configuration(
            [service("trusted", trusted.url), service("stranger", stranger.url)],
            [
                route("trusted", "/trusted", "trusted", websocket=True),
                route("stranger", "/stranger", "stranger", websocket=True),
            ],
        ),
        environment={"SSL_CERT_FILE": str(certificate_authority.path)},
    )
    trusted.script(f"/trusted/{name}", [upgrade(unmasked(TEXT, b"over TLS")), linger()])
    with RawWebSocket(gateway.port, f"/trusted/{name}") as client:
        assert client.read_message().payload == b"over TLS"
        client.send(BINARY, bytes(300_000))
        client.send_close(1000)
        assert client.read_frame().close_code == 1000
    request = trusted.wait_for_request(f"/trusted/{name}")
    trusted.wait_until_closed(request)
    # Masked, so only its length can be told: the message, its header and the close frame.
    received = bytes(trusted.connection_of(request).received).partition(b"\r\n\r\n")[2]
    assert len(received) == 300_000 + 14 + 8
    with RawWebSocket(gateway.port, "/stranger/x") as client:
        assert (client.response.status, client.response.error_code) == (502, "upstream_unreachable")
    for stub in (trusted, stranger):
        stub.stop()


def test_ping_of_the_client_is_answered(relay: GatewayProcess) -> None:
    with RawWebSocket(relay.port, "/open/silent") as client:
        client.send(PING, b"are you there?")
        frame = client.read_frame()
    assert (frame.opcode, frame.payload) == (PONG, b"are you there?")
