"""A WebSocket spoken byte by byte: frames are built and read by hand, so that wrong ones can be sent."""

import base64
import hashlib
import os
import struct
from dataclasses import dataclass

from tests.end_to_end.raw_client import RawClient, RawResponse

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@dataclass
class Frame:
    opcode: int
    payload: bytes
    final: bool = True
    reserved: int = 0
    masked: bool = False

    @property
    def close_code(self) -> int | None:
        return struct.unpack(">H", self.payload[:2])[0] if len(self.payload) >= 2 else None

    @property
    def close_reason(self) -> str:
        return self.payload[2:].decode()


def frame_bytes(
    opcode: int, payload: bytes = b"", final: bool = True, reserved: int = 0, masked: bool = True
) -> bytes:
    head = bytes([(final << 7) | (reserved << 4) | opcode])
    flag, size = 0x80 if masked else 0, len(payload)
    if size < 126:
        head += bytes([flag | size])
    elif size < 65536:
        head += bytes([flag | 126]) + struct.pack(">H", size)
    else:
        head += bytes([flag | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


def close_bytes(code: int | None = None, reason: str = "", masked: bool = True) -> bytes:
    payload = b"" if code is None else struct.pack(">H", code) + reason.encode()
    return frame_bytes(CLOSE, payload, masked=masked)


class RawWebSocket:
    """A client. `response` is the answer to the upgrade; frames only after a 101."""

    def __init__(
        self,
        port: int,
        target: str,
        headers: dict[str, str] | None = None,
        host: str = "gateway.test",
        timeout_seconds: float = 10.0,
        receive_buffer_bytes: int | None = None,
        behind_handshake: bytes = b"",
    ) -> None:
        self.client = RawClient(port, timeout_seconds, receive_buffer_bytes)
        self.key = base64.b64encode(os.urandom(16)).decode()
        fields = {
            "Host": host,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": self.key,
            **(headers or {}),
        }
        lines = [f"GET {target} HTTP/1.1", *[f"{name}: {value}" for name, value in fields.items()], "", ""]
        try:
            self.client.send("\r\n".join(lines).encode("latin-1") + behind_handshake)
            self.response: RawResponse = self.client.read_response()
        except BaseException:
            self.client.close()
            raise

    def __enter__(self) -> "RawWebSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        expected = base64.b64encode(
            hashlib.sha1((self.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        )
        return self.response.status == 101 and self.response.header("Sec-WebSocket-Accept") == expected

    def send(self, opcode: int, payload: bytes = b"", **options: bool | int) -> None:
        self.client.send(frame_bytes(opcode, payload, **options))  # type: ignore[arg-type]

    def send_close(self, code: int | None = None, reason: str = "") -> None:
        self.client.send(close_bytes(code, reason))

    def send_bytes(self, data: bytes) -> None:
        self.client.send(data)

    def read_frame(self) -> Frame:
        """The next frame. Raises ConnectionEnded, TimeoutError."""
        first, second = self._exactly(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack(">H", self._exactly(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self._exactly(8))[0]
        masked = bool(second & 0x80)
        mask = self._exactly(4) if masked else b""
        payload = self._exactly(size)
        if masked:
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        return Frame(first & 0x0F, payload, bool(first & 0x80), (first >> 4) & 7, masked)

    def read_message(self) -> Frame:
        """The next text or binary message, put together from its frames; a close frame is returned too.

        Pings on the way are answered, as a client that is alive does.
        """
        whole = b""
        opcode = 0
        while True:
            frame = self.read_frame()
            if frame.opcode == PING:
                self.send(PONG, frame.payload)
            if frame.opcode in (PING, PONG):
                continue
            if frame.opcode == CLOSE:
                return frame
            opcode = opcode or frame.opcode
            whole += frame.payload
            if frame.final:
                return Frame(opcode, whole)

    def echo(self, opcode: int, payload: bytes) -> Frame:
        self.send(opcode, payload)
        return self.read_message()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            data += self.client.read_some(size - len(data))
        return bytes(data)

    def close(self) -> None:
        self.client.close()

    def reset(self) -> None:
        self.client.reset()
