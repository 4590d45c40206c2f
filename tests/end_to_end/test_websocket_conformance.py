"""What a client may do and may not (RFC 6455), sent to the echo directly and through the gateway: equal ends.

The cases follow the sections of the Autobahn test suite, which autobahn_run.py runs itself.
Compared are the messages that came back, whether the connection was failed, and with which close code.
"""

import pytest

from tests.end_to_end.gateway_process import GatewayProcess
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

LAST = b"the last one"
WRONG_TEXT = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"

GOOD = {
    "ping empty": frame_bytes(PING),
    "ping full": frame_bytes(PING, b"p" * 125),
    "pong unasked": frame_bytes(PONG, b"nobody asked"),
    "ten pings": frame_bytes(PING, b"x") * 10,
    "text in one-byte parts": frame_bytes(TEXT, b"H", final=False)
    + b"".join(frame_bytes(0, bytes([each]), final=False) for each in b"ello")
    + frame_bytes(0, b"!"),
    "empty parts": frame_bytes(TEXT, final=False) + frame_bytes(0, final=False) + frame_bytes(0),
    "ping between parts": frame_bytes(TEXT, b"a", final=False)
    + frame_bytes(PING, b"?")
    + frame_bytes(0, b"b"),
    "character cut in two": frame_bytes(TEXT, b"\xce", final=False) + frame_bytes(0, b"\xba"),
    "text with NUL": frame_bytes(TEXT, b"a\x00b"),
    "highest code point": frame_bytes(TEXT, b"\xf4\x8f\xbf\xbf"),
    "noncharacter": frame_bytes(TEXT, b"\xef\xbf\xbf"),
    "binary that is no text": frame_bytes(BINARY, WRONG_TEXT),
}
BAD = {
    "ping too long": frame_bytes(PING, b"p" * 126),
    "ping in parts": frame_bytes(PING, b"p", final=False),
    "reserved bit": frame_bytes(TEXT, b"x", reserved=4),
    "all reserved bits": frame_bytes(BINARY, b"x", reserved=7),
    "reserved bit of a ping": frame_bytes(PING, b"x", reserved=1),
    "opcode 3": frame_bytes(3, b"x"),
    "opcode 7": frame_bytes(7),
    "opcode 11": frame_bytes(11, b"x"),
    "opcode 15": frame_bytes(15),
    "continuation of nothing": frame_bytes(0, b"x"),
    "text within a text": frame_bytes(TEXT, b"a", final=False) + frame_bytes(TEXT, b"b"),
    "unmasked": frame_bytes(TEXT, b"x", masked=False),
    "surrogate": frame_bytes(TEXT, WRONG_TEXT),
    "overlong": frame_bytes(TEXT, b"\xc0\xaf"),
    "beyond Unicode": frame_bytes(TEXT, b"\xf4\x90\x80\x80"),
    "cut at the end": frame_bytes(TEXT, b"a", final=False) + frame_bytes(0, b"\xce"),
    "close of one byte": frame_bytes(CLOSE, b"x"),
    "close too long": frame_bytes(CLOSE, b"\x03\xe8" + b"x" * 124),
    "close reason not UTF-8": frame_bytes(CLOSE, b"\x03\xe8\xff"),
    "close 999": close_bytes(999),
    "close 1004": close_bytes(1004),
    "close 1005": close_bytes(1005),
    "close 1006": close_bytes(1006),
    "close 1015": close_bytes(1015),
    "close 2999": close_bytes(2999),
    "close 5000": close_bytes(5000),
}
CLOSES = [None, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]


# Both ends name it the way RFC 6455 7.4.1 has it; for a reason that is not UTF-8 it allows 1007 and 1002.
CODES = {name: {1002} for name in BAD} | {
    "surrogate": {1007},
    "overlong": {1007},
    "beyond Unicode": {1007},
    "cut at the end": {1007},
    "close reason not UTF-8": {1002, 1007},
}


def outcome(port: int, data: bytes) -> tuple[list[tuple[int, bytes]], int | None]:
    """What came back, and the code of the close frame that came before LAST did; None without one.

    Raises ConnectionEnded where the connection was failed without a close frame.
    """
    answers: list[tuple[int, bytes]] = []
    with RawWebSocket(port, "/open/echo", timeout_seconds=5) as client:
        client.send_bytes(data + frame_bytes(BINARY, LAST))
        while True:
            frame = client.read_frame()
            if frame.opcode == CLOSE:
                assert frame.close_code is not None
                return answers, frame.close_code
            if frame.payload == LAST:
                return answers, None
            answers.append((frame.opcode, frame.payload))


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD.keys())
def test_what_is_allowed_passes_as_it_does_directly(
    relay: GatewayProcess, sockets: WebSocketUpstream, data: bytes
) -> None:
    direct, relayed = outcome(sockets.port, data), outcome(relay.port, data)
    # Pongs come from the next peer, messages from the far one: their order between them may differ.
    assert (sorted(relayed[0]), relayed[1]) == (sorted(direct[0]), None)


@pytest.mark.parametrize("case", BAD)
def test_what_is_forbidden_fails_the_connection_as_it_does_directly(
    relay: GatewayProcess, sockets: WebSocketUpstream, case: str
) -> None:
    for port in (sockets.port, relay.port):
        answers, code = outcome(port, BAD[case])
        assert answers == []
        assert code in CODES[case]


@pytest.mark.parametrize("code", CLOSES)
def test_close_is_answered_with_its_code_as_it_is_directly(
    relay: GatewayProcess, sockets: WebSocketUpstream, code: int | None
) -> None:
    answered = []
    for port in (sockets.port, relay.port):
        with RawWebSocket(port, "/open/echo") as client:
            client.send_close(code, "" if code is None else "because")
            answered.append(client.read_frame().close_code)
    assert answered == [code, code]
