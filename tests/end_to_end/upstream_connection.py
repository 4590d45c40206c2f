"""One connection that the gateway opened to a stub upstream, and every byte that came over it."""

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field


class HungUp(Exception):
    """The gateway closed the connection, or the stub is being stopped."""


@dataclass
class ReceivedRequest:
    """One request as it arrived. `head` and `raw_body` are its exact bytes; `body` is decoded."""

    connection: int
    head: bytes
    raw_body: bytes = b""
    body: bytes = b""
    complete: bool = False
    arrived_at: float = field(default_factory=time.monotonic)

    @property
    def method(self) -> bytes:
        return self._request_line()[0]

    @property
    def target(self) -> bytes:
        return self._request_line()[1]

    def _request_line(self) -> list[bytes]:
        parts = self.head.split(b"\r\n", 1)[0].split(b" ")
        return [*parts, b"", b""][:3]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

    def values(self, name: str) -> list[bytes]:
        """Every value of the header, whatever its case."""
        wanted = name.lower().encode()
        return [value for found, value in self.headers if found.lower() == wanted]

    def header(self, name: str) -> bytes | None:
        """The header's only value, None without one. Raises AssertionError when there are several."""
        values = self.values(name)
        assert len(values) < 2, f"{name} arrived {len(values)} times: {values}"
        return values[0] if values else None


class UpstreamConnection:
    """The stub's end of the connection. Steps of a script act on it."""

    def __init__(self, number: int, stream: socket.socket, stopping: threading.Event) -> None:
        self.number = number
        self.stream = stream
        self.stopping = stopping
        self.received = bytearray()
        self.closed = False
        self.closed_at: float | None = None
        self.request = ReceivedRequest(number, b"")
        self._unread = bytearray()
        self._body_read = False

    def next_request(self) -> ReceivedRequest:
        """Read one request head. Raises HungUp."""
        if self.request.head and not self._body_read:
            self.read_body()
        while b"\r\n\r\n" not in self._unread:
            self._receive()
        end = self._unread.index(b"\r\n\r\n") + 4
        self.request = ReceivedRequest(self.number, bytes(self._unread[:end]))
        del self._unread[:end]
        self._body_read = False
        return self.request

    def read_body(self) -> None:
        if self._body_read:
            return
        self._body_read = True
        if any(b"chunked" in value.lower() for value in self.request.values("Transfer-Encoding")):
            self._read_chunks()
        else:
            length = int((self.request.values("Content-Length") or [b"0"])[0])
            self.request.raw_body = self.request.body = self._take(length)
        self.request.complete = True

    def _read_chunks(self) -> None:
        while True:
            line = self._take_line()
            data = self._take(int(line.split(b";")[0], 16) + 2)
            self.request.raw_body += line + data
            self.request.body += data[:-2]
            if len(data) == 2:
                return

    def _take_line(self) -> bytes:
        while b"\r\n" not in self._unread:
            self._receive()
        return self._take(self._unread.index(b"\r\n") + 2)

    def _take(self, size: int) -> bytes:
        while len(self._unread) < size:
            self._receive()
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    def _receive(self) -> None:
        self._until_readable(None)
        try:
            data = self.stream.recv(65536)
        except OSError as error:
            self._ended()
            raise HungUp from error
        if not data:
            self._ended()
            raise HungUp
        self.received += data
        self._unread += data

    def _until_readable(self, deadline: float | None) -> bool:
        while not self.stopping.is_set() and not self.closed:
            if deadline is not None and time.monotonic() > deadline:
                return False
            # TLS may hold bytes that the socket has handed over already.
            if isinstance(self.stream, ssl.SSLSocket) and self.stream.pending():
                return True
            if select.select([self.stream], [], [], 0.02)[0]:
                return True
        raise HungUp

    def send(self, data: bytes) -> None:
        """Send it all, waiting for a gateway that doesn't read. Raises HungUp."""
        view = memoryview(data)
        while view:
            if self.stopping.is_set() or self.closed:
                raise HungUp
            if not select.select([], [self.stream], [], 0.02)[1]:
                continue
            try:
                view = view[self.stream.send(view) :]
            except BlockingIOError:
                continue
            except OSError as error:
                self._ended()
                raise HungUp from error

    def wait(self, seconds: float) -> None:
        if self.stopping.wait(seconds):
            raise HungUp

    def wait_for(self, event: threading.Event, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not event.wait(0.01):
            if self.stopping.is_set() or time.monotonic() > deadline:
                raise HungUp

    def wait_for_hang_up(self, timeout_seconds: float) -> None:
        """Read and keep whatever comes until the gateway closes. Raises HungUp when it has."""
        deadline = time.monotonic() + timeout_seconds
        while self._until_readable(deadline):
            self._receive()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)
        self._ended()

    def reset(self) -> None:
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._ended()

    def _ended(self) -> None:
        if not self.closed:
            self.closed = True
            self.closed_at = time.monotonic()
            self.stream.close()
