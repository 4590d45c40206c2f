"""What a stub upstream does with one request: a script is a list of these steps.

[read_body(), send(head + body)]                     an ordinary answer
[send(b"HTTP/1.1 200 OK\\r\\n…"), wait(0.2), close()]  one that dies half-way
"""

import json
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.end_to_end.upstream_connection import UpstreamConnection

Step = Callable[["UpstreamConnection"], None]
Script = Sequence[Step]


def response(
    status: str = "200 OK",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    content_length: bool = True,
) -> bytes:
    """The bytes of a whole HTTP/1.1 response."""
    fields = list(headers)
    if content_length:
        fields.append(("Content-Length", str(len(body))))
    head = "".join([f"HTTP/1.1 {status}\r\n", *[f"{name}: {value}\r\n" for name, value in fields], "\r\n"])
    return head.encode("latin-1") + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n"
EVENT_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n"
)


def read_body() -> Step:
    """Read the request's body to its end, by whichever framing it has."""
    return lambda connection: connection.read_body()


def send(data: bytes) -> Step:
    return lambda connection: connection.send(data)


def drip(data: bytes, size: int, pause_seconds: float) -> Step:
    """Send `data` in pieces of `size` bytes with a pause after each."""

    def step(connection: "UpstreamConnection") -> None:
        for start in range(0, len(data), size):
            connection.send(data[start : start + size])
            connection.wait(pause_seconds)

    return step


def send_endlessly(data: bytes) -> Step:
    """Send `data` again and again until the gateway hangs up."""

    def step(connection: "UpstreamConnection") -> None:
        while not connection.closed:
            connection.send(data)

    return step


def wait(seconds: float) -> Step:
    """Do nothing for so long, or until the stub is stopped."""
    return lambda connection: connection.wait(seconds)


def wait_for(event: threading.Event, timeout_seconds: float = 10.0) -> Step:
    """Go on when the test sets `event`."""
    return lambda connection: connection.wait_for(event, timeout_seconds)


def wait_for_hang_up(timeout_seconds: float = 30.0) -> Step:
    """Go on when the gateway has closed its side."""
    return lambda connection: connection.wait_for_hang_up(timeout_seconds)


def close() -> Step:
    """Close the connection in order (FIN)."""
    return lambda connection: connection.close()


def reset() -> Step:
    """Break the connection (RST)."""
    return lambda connection: connection.reset()


def echo() -> Step:
    """Answer with what arrived, as JSON: method, target, headers (in order), body as text."""

    def step(connection: "UpstreamConnection") -> None:
        connection.read_body()
        request = connection.request
        described = {
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers],
            "body": request.body.decode("latin-1"),
        }
        body = json.dumps(described).encode()
        if request.method == b"HEAD":
            body = b""
        connection.send(response(headers=[("Content-Type", "application/json")], body=body))

    return step
