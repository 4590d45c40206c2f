"""What passes through a relayed WebSocket, both ways: messages, headers, subprotocols, ends."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect

from tests.end_to_end.configuration import ALICE_KEY
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_websocket import BINARY, CLOSE, PING, PONG, TEXT, RawWebSocket
from tests.end_to_end.websocket_upstream import WebSocketUpstream

KEY = {"X-API-Key": ALICE_KEY}


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 1_048_576])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
def test_message_of_any_size_comes_back_unchanged(relay: GatewayProcess, opcode: int, size: int) -> None:
    payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with RawWebSocket(relay.port, "/open/echo") as client:
        echoed = client.echo(opcode, payload)
    assert (echoed.opcode, echoed.payload) == (opcode, payload)


def test_sixteen_megabytes_pass_where_the_route_allows_them(relay: GatewayProcess) -> None:
    payload = bytes(range(256)) * 65_536
    with RawWebSocket(relay.port, "/large/echo", timeout_seconds=30) as client:
        assert client.echo(BINARY, payload).payload == payload


def test_text_beyond_ascii_comes_back_as_text(relay: GatewayProcess) -> None:
    text = "grüße, κόσμε, 世界, 🚪"
    with RawWebSocket(relay.port, "/open/echo") as client:
        assert client.echo(TEXT, text.encode()).payload.decode() == text


def test_fragments_arrive_as_one_message_with_a_ping_between_them(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    with RawWebSocket(relay.port, f"/open/{name}/echo") as client:
        client.send(TEXT, b"one ", final=False)
        client.send(PING, b"now")
        client.send(0, b"two ", final=False)
        client.send(0, b"three")
        answers = [client.read_frame(), client.read_frame()]
    assert {answer.opcode: answer.payload for answer in answers} == {PONG: b"now", TEXT: b"one two three"}
    assert sockets.wait_for(f"/open/{name}/echo").messages == ["one two three"]


def test_messages_keep_their_order_and_kind(relay: GatewayProcess) -> None:
    sent = [(TEXT if number % 3 else BINARY, b"%d" % number) for number in range(500)]
    with RawWebSocket(relay.port, "/open/echo") as client:
        for opcode, payload in sent:
            client.send(opcode, payload)
        received = [client.read_message() for _ in sent]
    assert [(frame.opcode, frame.payload) for frame in received] == sent


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1008, 1009, 1011, 1012, 1013, 1014, 3000, 4000, 4999])
def test_close_code_and_reason_of_the_upstream_reach_the_client(relay: GatewayProcess, code: int) -> None:
    with RawWebSocket(relay.port, f"/open/close/{code}/because") as client:
        client.send(TEXT, b"go")
        frame = client.read_frame()
    assert (frame.opcode, frame.close_code, frame.close_reason) == (CLOSE, code, "because")


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1008, 3000, 4123, 4999])
def test_close_code_and_reason_of_the_client_reach_the_upstream(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str, code: int
) -> None:
    path = f"/open/{name}/echo"
    with RawWebSocket(relay.port, path) as client:
        client.echo(TEXT, b"hello")
        client.send_close(code, "bye, κόσμε")
        assert client.read_frame().close_code == code
    arrival = sockets.wait_until_ended(path)
    assert (arrival.close_code, arrival.close_reason) == (code, "bye, κόσμε")
    log = relay.wait_for_log(event="ws_disconnected", path=path)
    assert (log["close_code"], log["close_reason"], log["closed_by"]) == (code, "bye, κόσμε", "client")


def test_client_that_closes_without_a_code_closes_the_upstream_without_one(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    path = f"/open/{name}/echo"
    with RawWebSocket(relay.port, path) as client:
        client.send_close()
        assert client.read_frame().payload == b""
    assert sockets.wait_until_ended(path).close_code == 1005
    log = relay.wait_for_log(event="ws_disconnected", path=path)
    assert (log["close_code"], log["closed_by"]) == (1005, "client")


def test_client_that_vanishes_is_told_apart_from_one_that_closes(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    path = f"/open/{name}/echo"
    with RawWebSocket(relay.port, path) as client:
        client.echo(TEXT, b"hello")
        client.reset()
    assert sockets.wait_until_ended(path).close_code == 1001
    log = relay.wait_for_log(event="ws_disconnected", path=path)
    assert (log["close_code"], log["closed_by"]) == (1006, "client")


def test_upstream_that_breaks_off_closes_the_client_with_1014(relay: GatewayProcess) -> None:
    with RawWebSocket(relay.port, "/open/vanish") as client:
        client.send(TEXT, b"go")
        assert client.read_frame().close_code == 1014


def test_subprotocol_that_the_upstream_chose_reaches_the_client(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    offered = {"Sec-WebSocket-Protocol": "chat.v1, chat.v2"}
    with RawWebSocket(relay.port, f"/open/{name}/protocol", offered) as client:
        assert client.is_open
        assert client.response.header("Sec-WebSocket-Protocol") == b"chat.v2"
    assert sockets.wait_for(f"/open/{name}/protocol").values("Sec-WebSocket-Protocol") == ["chat.v1, chat.v2"]


def test_compression_is_cleanly_not_offered(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    with RawWebSocket(relay.port, f"/open/{name}/echo", offer) as client:
        assert client.is_open
        assert client.response.values("Sec-WebSocket-Extensions") == []
        assert client.echo(TEXT, b"plain").payload == b"plain"
    assert sockets.wait_for(f"/open/{name}/echo").values("Sec-WebSocket-Extensions") == []


def test_upstream_gets_identity_and_ids_and_no_credential(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    forged = {"X-User-Id": "999", "X-Request-ID": "mine-1", "X-Forwarded-For": "6.6.6.6", "X-Custom": "kept"}
    with RawWebSocket(relay.port, f"/private/{name}/echo?a=1", {**KEY, **forged}) as client:
        assert client.is_open
    arrival = sockets.wait_for(f"/private/{name}/echo")
    assert arrival.path.endswith("?a=1")
    assert arrival.values("X-User-Name") == ["alice"]
    assert arrival.values("X-User-Id") not in ([], ["999"])
    assert arrival.values("X-Request-ID") == ["mine-1"]
    assert arrival.values("X-Forwarded-For") == ["127.0.0.1"]
    assert arrival.values("X-Custom") == ["kept"]
    assert len(arrival.values("Sec-WebSocket-Key")) == 1
    assert ALICE_KEY not in str(arrival.headers)


def test_connection_is_logged_and_audited_from_start_to_end(relay: GatewayProcess, name: str) -> None:
    path = f"/private/{name}/echo"
    with RawWebSocket(relay.port, path, KEY) as client:
        client.echo(BINARY, b"12345")
        client.echo(BINARY, b"1234567")
        client.send_close(4000)
        client.read_frame()
    assert relay.wait_for_log(event="ws_connected", path=path)["status"] == 101
    log = relay.wait_for_log(event="ws_disconnected", path=path)
    figures = {"messages_in": 2, "messages_out": 2, "bytes_in": 12, "bytes_out": 12}
    assert {key: log[key] for key in figures} == figures
    assert (log["close_code"], log["closed_by"]) == (4000, "client")
    assert log["duration_ms"] > 0
    record = relay.wait_for_audit(event="ws_disconnected", path=path)
    audited = json.loads(record["body"])
    assert {key: audited[key] for key in figures} == figures
    assert (audited["close_code"], audited["closed_by"], audited["principal"]) == (4000, "client", "alice")
    assert audited["duration_ms"] > 0
    assert relay.audit_records(event="ws_connected", path=path)


def test_large_messages_of_different_sizes_in_a_row_stay_apart(relay: GatewayProcess) -> None:
    # Their headers are built in one buffer: the second must not be written over the first.
    sizes = [70_000, 9_000, 130_000, 20_000, 10_000, 66_000, 125, 90_000]
    with RawWebSocket(relay.port, "/open/echo", receive_buffer_bytes=4096) as client:
        for size in sizes:
            client.send(BINARY, bytes([size % 251]) * size)
        for size in sizes:
            assert client.read_message().payload == bytes([size % 251]) * size


def test_neighbours_of_a_client_that_stops_reading_do_not_notice(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    path = f"/open/{name}/flood"
    with RawWebSocket(relay.port, path, receive_buffer_bytes=4096) as stuck:
        assert stuck.is_open
        arrival = sockets.wait_for(path)
        sent = sockets.wait_until_flood_stops(arrival)
        # What lies in between is the kernel's buffers and the gateway's bounded queue, not all of a flood.
        assert sent * 65_536 < 32 * 1024 * 1024
        with RawWebSocket(relay.port, "/open/echo", timeout_seconds=2) as neighbour:
            for _ in range(50):
                assert neighbour.echo(TEXT, b"still quick").payload == b"still quick"
        assert arrival.sent == sent
        for _ in range(sent):
            assert len(stuck.read_message().payload) == 65_536


def test_upstream_that_stops_reading_stops_the_client(
    relay: GatewayProcess, sockets: WebSocketUpstream, name: str
) -> None:
    with RawWebSocket(relay.port, f"/open/{name}/deaf", timeout_seconds=2) as client:
        assert _sent_until_stuck(client) < 256


@pytest.mark.parametrize("compression", ["deflate", None])
def test_the_websockets_library_works_through_the_gateway(
    relay: GatewayProcess, compression: str | None
) -> None:
    async def talk() -> list[str | bytes]:
        url = f"ws://127.0.0.1:{relay.port}/private/echo"
        async with connect(url, additional_headers=KEY, compression=compression, proxy=None) as client:
            await client.send("text")
            await client.send(b"bytes")
            await client.send(["in ", "three ", "parts"])
            received = [await client.recv() for _ in range(3)]
            await (await client.ping())
            return received

    assert asyncio.run(talk()) == ["text", b"bytes", "in three parts"]


def _sent_until_stuck(client: RawWebSocket) -> int:
    """How many messages of 256 KiB went out before one could not."""
    for number in range(512):
        try:
            client.send(BINARY, bytes(262_144))
        except TimeoutError:
            return number
    return 512
