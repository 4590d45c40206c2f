"""A client that sends exactly the bytes it is given and keeps exactly the bytes it gets."""

import json
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any


class ConnectionEnded(Exception):
    """The gateway closed the connection before what was waited for had come."""


@dataclass
class RawResponse:
    """One response. `complete` is False when the connection ended before its framing did."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    raw: bytes = b""
    complete: bool = True
    informational: list["RawResponse"] = field(default_factory=list)

    def values(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        return [value for found, value in self.headers if found.lower() == wanted]

    def header(self, name: str) -> bytes | None:
        """The header's only value, None without one. Raises AssertionError when there are several."""
        values = self.values(name)
        assert len(values) < 2, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error_code(self) -> str | None:
        """The code of the gateway's error envelope; None when the body isn't one."""
        try:
            return str(self.json()["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return None


class RawClient:
    """One TCP connection to the gateway. Every read has a deadline."""

    def __init__(
        self, port: int, timeout_seconds: float = 10.0, receive_buffer_bytes: int | None = None
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.stream = socket.socket()
        if receive_buffer_bytes is not None:
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            self.stream.connect(("127.0.0.1", port))
        except OSError:
            self.stream.close()
            raise
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self._unread = bytearray()

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.stream.settimeout(self.timeout_seconds)
        self.stream.sendall(data)

    def request(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        host: str = "gateway.test",
    ) -> RawResponse:
        """Send a well-formed request on this connection and read its response."""
        fields = {"Host": host, **(headers or {})}
        if body:
            fields.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in fields.items()]]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.read_response(to_head=method == "HEAD")

    def read_response(self, to_head: bool = False) -> RawResponse:
        """Read one final response and the 1xx before it. Raises ConnectionEnded, TimeoutError."""
        informational: list[RawResponse] = []
        while True:
            response = self.read_head()
            if response.status >= 200 or response.status == 101:
                break
            informational.append(response)
        response.informational = informational
        if to_head or response.status in (101, 204, 304):
            return response
        before = bytes(self._unread)
        try:
            self._read_body(response)
        except (ConnectionEnded, ConnectionResetError):
            response.complete = False
            response.body = response.body or before
        return response

    def read_head(self) -> RawResponse:
        """Read a status line and its headers only."""
        head = self.read_until(b"\r\n\r\n")
        status_line, *lines = head[:-4].split(b"\r\n")
        _, status, reason = [*status_line.split(b" ", 2), b""][:3]
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        return RawResponse(int(status), reason, headers, raw=head)

    def _read_body(self, response: RawResponse) -> None:
        if response.values("Transfer-Encoding"):
            self._read_chunks(response)
        elif response.values("Content-Length"):
            remaining = int(response.values("Content-Length")[0])
            while remaining:
                piece = self.read_some(remaining)
                response.body += piece
                remaining -= len(piece)
        else:
            response.body = self.read_until_closed()

    def _read_chunks(self, response: RawResponse) -> None:
        while True:
            data = self.read_chunk()
            if not data:
                return
            response.body += data

    def read_chunk(self) -> bytes:
        """The data of the next chunk of a chunked body; empty after the last one."""
        size = int(self.read_until(b"\r\n").split(b";")[0], 16)
        data = self.read_exactly(size)
        self.read_exactly(2)
        return data

    def read_exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            self._receive()
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`."""
        while mark not in self._unread:
            self._receive()
        return self.read_exactly(self._unread.index(mark) + len(mark))

    def read_some(self, at_most: int = 65536) -> bytes:
        """At least one byte, as it comes."""
        if not self._unread:
            self._receive()
        data = bytes(self._unread[:at_most])
        del self._unread[:at_most]
        return data

    def read_until_closed(self) -> bytes:
        """Everything until the gateway closes in order; a reset raises ConnectionResetError."""
        try:
            while True:
                self._receive()
        except ConnectionEnded:
            return self.read_exactly(len(self._unread))

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing at all comes within so long (no bytes, no close)."""
        return not self._unread and not select.select([self.stream], [], [], seconds)[0]

    def _receive(self) -> None:
        deadline = time.monotonic() + self.timeout_seconds
        self.stream.settimeout(max(0.01, deadline - time.monotonic()))
        data = self.stream.recv(262144)
        if not data:
            raise ConnectionEnded(f"closed after {len(self.received)} bytes: {bytes(self.received[-300:])!r}")
        self.received += data
        self._unread += data

    def close(self) -> None:
        self.stream.close()

    def reset(self) -> None:
        """Leave without a goodbye (RST), as a crashed client does."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.close()


def exchange(port: int, data: bytes, timeout_seconds: float = 10.0) -> RawResponse:
    """Send `data` on a new connection and return the first final response."""
    with RawClient(port, timeout_seconds) as client:
        client.send(data)
        return client.read_response(to_head=data.startswith(b"HEAD "))


def request_bytes(
    target: bytes | str,
    *lines: bytes | str,
    method: str = "GET",
    host: str | None = "gateway.test",
    body: bytes = b"",
) -> bytes:
    """A request with exactly these header lines after Host; a body adds nothing by itself."""
    encoded = [line.encode("latin-1") if isinstance(line, str) else line for line in (target, *lines)]
    head = [method.encode() + b" " + encoded[0] + b" HTTP/1.1"]
    if host is not None:
        head.append(b"Host: " + host.encode("latin-1"))
    return b"\r\n".join([*head, *encoded[1:], b"", b""]) + body
