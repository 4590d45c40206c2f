"""What a client may try with a WebSocket, on raw sockets: handshakes that aren't, frames that lie, floods."""

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path

import pytest

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
from tests.end_to_end.websocket_upstream import WebSocketUpstream
from tests.services.deadline import wait_until

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = "Sec-WebSocket-Version: 13"


def handshake(*fields: str, target: str = "/open/echo", version: str = "HTTP/1.1") -> bytes:
    lines = [f"GET {target} {version}", "Host: gateway.test", "Connection: Upgrade", "Upgrade: websocket"]
    return "\r\n".join([*lines, *fields, "", ""]).encode("latin-1")


HANDSHAKES = [
    pytest.param((VERSION,), 400, "bad_handshake", id="no key"),
    pytest.param((VERSION, "Sec-WebSocket-Key:"), 400, "bad_handshake", id="empty key"),
    pytest.param((VERSION, "Sec-WebSocket-Key: short"), 400, "bad_handshake", id="short key"),
    pytest.param((VERSION, KEY.replace("ZQ==", "ZQZQZQ==")), 400, "bad_handshake", id="long key"),
    pytest.param((VERSION, KEY.replace("dG", "d*")), 400, "bad_handshake", id="key not base64"),
    pytest.param((VERSION, KEY, KEY), 400, "bad_handshake", id="two keys"),
    pytest.param((VERSION, KEY, "Sec-WebSocket-Protocol: a b"), 400, "bad_handshake", id="protocol no token"),
    pytest.param((KEY,), 426, "websocket_version", id="no version"),
    pytest.param((KEY, "Sec-WebSocket-Version: 8"), 426, "websocket_version", id="version 8"),
    pytest.param((KEY, VERSION, VERSION), 426, "websocket_version", id="two versions"),
    pytest.param((KEY, VERSION, "Content-Length: 5"), 400, "bad_framing", id="with a body"),
    pytest.param((KEY, VERSION, "Transfer-Encoding: chunked"), 400, "bad_framing", id="with chunks"),
]


@pytest.mark.parametrize("fields, status, code", HANDSHAKES)
def test_handshake_that_is_not_in_order_is_refused_and_audited(
    relay: GatewayProcess,
    sockets: WebSocketUpstream,
    name: str,
    fields: tuple[str, ...],
    status: int,
    code: str,
) -> None:
    path = f"/open/{name}/echo"
    with RawClient(relay.port) as client:
        client.send(
            handshake(*fields, f"X-Request-ID: shake-{name}", target=path) + b"5\r\nhello\r\n0\r\n\r\n"
        )
        response = client.read_response()
    assert (response.status, response.error_code) == (status, code)
    assert (response.header("Sec-WebSocket-Version") == b"13") is (status == 426)
    assert relay.wait_for_audit(request_id=f"shake-{name}")["status"] == status
    assert sockets.to(path) == []


def test_old_http_gets_no_websocket(relay: GatewayProcess, sockets: WebSocketUpstream, name: str) -> None:
    path = f"/open/{name}/echo"
    with RawClient(relay.port) as client:
        client.send(handshake(KEY, VERSION, target=path, version="HTTP/1.0"))
        response = client.read_response()
    assert (response.status, response.error_code) == (400, "bad_handshake")
    assert sockets.to(path) == []


def test_bad_handshake_for_the_control_plane_is_refused_too(relay: GatewayProcess) -> None:
    with RawClient(relay.port) as client:
        client.send(handshake(VERSION, target="/admin/audit/tail/ws"))
        assert client.read_response().error_code == "bad_handshake"


def test_nothing_behind_a_refused_upgrade_is_taken_for_a_request(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    smuggled = f"GET /open/{name}/smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n".encode()
    with RawClient(relay.port) as client:
        client.send(handshake(KEY, VERSION, target="/unknown/x") + smuggled)
        assert client.read_response().status == 404
        assert client.read_until_closed() == b""
    assert sockets.to(f"/open/{name}/smuggled") == []
    assert relay.log_records(path=f"/open/{name}/smuggled") == []


def test_frames_sent_with_the_handshake_wait_for_the_acceptance(relay: GatewayProcess) -> None:
    early = frame_bytes(TEXT, b"early ", final=False) + frame_bytes(0, b"bird") + frame_bytes(PING, b"?")
    with RawWebSocket(
        relay.port, "/open/echo", behind_handshake=early + frame_bytes(BINARY, bytes(50_000))
    ) as client:
        assert client.is_open
        received = {}
        while len(received) < 3:
            frame = client.read_frame()
            received[frame.opcode] = frame.payload
    assert received == {TEXT: b"early bird", PONG: b"?", BINARY: bytes(50_000)}


VIOLATIONS = [
    pytest.param(frame_bytes(TEXT, b"x", masked=False), 1002, id="unmasked"),
    pytest.param(frame_bytes(PING, b"x", masked=False), 1002, id="unmasked ping"),
    pytest.param(frame_bytes(TEXT, b"x", reserved=4), 1002, id="reserved bit"),
    pytest.param(frame_bytes(3, b"x"), 1002, id="unknown opcode"),
    pytest.param(frame_bytes(0, b"x"), 1002, id="continuation of nothing"),
    pytest.param(frame_bytes(PING, b"x", final=False), 1002, id="ping in parts"),
    pytest.param(frame_bytes(PING, b"x" * 126), 1002, id="ping too long"),
    pytest.param(close_bytes(1005), 1002, id="close 1005"),
    pytest.param(frame_bytes(CLOSE, b"x"), 1002, id="close of one byte"),
    pytest.param(b"\x81\xfe\x00\x05" + bytes(9), 1002, id="length longer than it need be"),
    pytest.param(b"\x82\xff" + b"\xff" * 8, 1002, id="length with its first bit set"),
    pytest.param(b"\x82\xff" + struct.pack(">Q", 2**62), 1009, id="length of four exabytes"),
    pytest.param(b"\x82\xff" + struct.pack(">Q", 1_048_577), 1009, id="length beyond the limit by one"),
    pytest.param(b"\x02\xff" + struct.pack(">Q", 1_048_577), 1009, id="first part beyond the limit"),
    pytest.param(
        frame_bytes(BINARY, bytes(1_000_000), final=False) + frame_bytes(0, bytes(100_000)),
        1009,
        id="parts beyond the limit",
    ),
    pytest.param(frame_bytes(TEXT, b"\xed\xa0\x80"), 1007, id="text not UTF-8"),
]


@pytest.mark.parametrize("frames, code", VIOLATIONS)
def test_violation_of_the_client_is_closed_with_its_code(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str, frames: bytes, code: int
) -> None:
    path = f"/open/{name}/silent"
    with RawWebSocket(relay.port, path) as client:
        # The message before it is delivered, what comes behind it is not, and disturbs no answer.
        client.send_bytes(frame_bytes(TEXT, b"before") + frames + frame_bytes(TEXT, b"behind") * 500)
        frame = client.read_frame()
        assert (frame.opcode, frame.close_code) == (CLOSE, code)
        with contextlib.suppress(ConnectionResetError):
            assert client.client.read_until_closed() == b""
    arrival = sockets.wait_until_ended(path)
    assert (arrival.messages, arrival.close_code) == (["before"], 1009 if code == 1009 else 1001)
    log = relay.wait_for_log(event="ws_disconnected", path=path)
    assert (log["close_code"], log["closed_by"]) == (code, "gateway")


def test_frames_behind_a_close_are_not_delivered(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    path = f"/open/{name}/silent"
    with RawWebSocket(relay.port, path) as client:
        client.send_bytes(
            frame_bytes(TEXT, b"first") + close_bytes(4001, "done") + frame_bytes(TEXT, b"more") * 2000
        )
        assert client.read_frame().close_code == 4001
    arrival = sockets.wait_until_ended(path)
    assert (arrival.messages, arrival.close_code, arrival.close_reason) == (["first"], 4001, "done")


def test_half_closed_socket_is_a_client_that_has_gone(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    path = f"/open/{name}/silent"
    with RawWebSocket(relay.port, path) as client:
        client.send(TEXT, b"last")
        client.client.stream.shutdown(socket.SHUT_WR)
        assert client.client.read_until_closed() == b""
    arrival = sockets.wait_until_ended(path)
    assert (arrival.messages, arrival.close_code) == (["last"], 1001)


def test_client_that_leaves_in_the_middle_of_a_frame_leaves_nothing_of_it(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    path = f"/open/{name}/silent"
    with RawWebSocket(relay.port, path) as client:
        client.send_bytes(frame_bytes(BINARY, bytes(500_000))[:400_000])
    arrival = sockets.wait_until_ended(path)
    assert (arrival.messages, arrival.close_code) == ([], 1001)


def test_frame_that_comes_slowly_is_no_silence(relay: GatewayProcess) -> None:
    # The route pings every second, and within a frame no pong can be sent.
    frame = frame_bytes(BINARY, bytes(2_000))
    with RawWebSocket(relay.port, "/pinged/echo") as client:
        for start in range(0, len(frame), 250):
            client.send_bytes(frame[start : start + 250])
            # Longer in all than two intervals of pings.
            assert not threading.Event().wait(0.5)
        assert client.read_message().payload == bytes(2_000)


def test_flood_of_pings_costs_no_memory_when_nobody_reads_the_pongs(relay: GatewayProcess) -> None:
    worker = _worker(relay)
    with RawWebSocket(relay.port, "/open/silent", receive_buffer_bytes=4096, timeout_seconds=5) as client:
        client.send_bytes(frame_bytes(PING, b"p" * 125) * 1000)
        before = _resident_bytes(worker)
        batch = frame_bytes(PING, b"p" * 125) * 2000
        with contextlib.suppress(TimeoutError):
            for _ in range(100):
                client.send_bytes(batch)
        with RawWebSocket(relay.port, "/open/echo", timeout_seconds=2) as neighbour:
            assert neighbour.echo(TEXT, b"quick").payload == b"quick"
        # Twenty-five megabytes of pings.
        assert _resident_bytes(worker) - before < 4 * 1024 * 1024


def test_flood_of_empty_parts_costs_no_memory(relay: GatewayProcess) -> None:
    worker = _worker(relay)
    with RawWebSocket(relay.port, "/open/echo") as client:
        client.send(TEXT, b"begun", final=False)
        before = _resident_bytes(worker)
        batch = frame_bytes(0, b"", final=False) * 10_000
        for _ in range(50):
            client.send_bytes(batch)
        client.send(0, b" and ended")
        assert client.read_message().payload == b"begun and ended"
        assert _resident_bytes(worker) - before < 4 * 1024 * 1024


def test_flood_of_tiny_messages_leaves_neighbours_their_turn(relay: GatewayProcess) -> None:
    # All of it at once would keep the loop for longer than a second.
    with (
        RawWebSocket(relay.port, "/open/silent", timeout_seconds=60) as client,
        RawWebSocket(relay.port, "/open/echo", timeout_seconds=1) as neighbour,
    ):
        sending = threading.Thread(target=client.send_bytes, args=(frame_bytes(TEXT) * 300_000,))
        sending.start()
        for _ in range(20):
            assert neighbour.echo(TEXT, b"my turn").payload == b"my turn"
        sending.join()


def test_buffers_of_large_messages_are_given_back(relay: GatewayProcess) -> None:
    worker = _worker(relay)
    payload = os.urandom(4 * 1024 * 1024)
    opened = [RawWebSocket(relay.port, "/large/echo", timeout_seconds=30) for _ in range(6)]
    try:
        before = _resident_bytes(worker)
        for client in opened:
            assert client.echo(BINARY, payload).payload == payload
        # Six connections with two legs each would keep 100 megabytes.
        wait_until(
            lambda: _resident_bytes(worker) - before < 16 * 1024 * 1024, "the buffers are given back", 10
        )
        for client in opened:
            assert client.echo(TEXT, b"still there").payload == b"still there"
    finally:
        for client in opened:
            client.close()


def _worker(gateway: GatewayProcess) -> int:
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    return max(map(int, children), key=_resident_bytes)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
