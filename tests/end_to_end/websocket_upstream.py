"""An upstream that serves WebSockets by path, on `websockets`; it records what reached it.

/…/echo        sends every message back           /…/close/CODE/REASON  closes so after the first message
/…/silent      reads and never answers            /…/refuse             answers 403 with a body of its own
/…/flood       sends without end                  /…/deaf               never reads
/…/protocol    chooses `chat.v2` if offered       /…/vanish             breaks off after the first message
"""

import contextlib
import logging
import socket
import struct
import threading
import time
from http import HTTPStatus
from urllib.parse import unquote

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from tests.services.deadline import wait_until

_quiet = logging.getLogger("tests.websocket_upstream")
_quiet.setLevel(logging.CRITICAL)
REFUSAL = b'{"refused": "by the upstream"}'


class Arrival:
    """One connection as the upstream saw it."""

    def __init__(self, request: Request) -> None:
        self.path = request.path
        self.headers = list(request.headers.raw_items())
        self.messages: list[str | bytes] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self.ended = False
        self.sent = 0

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]


class WebSocketUpstream:
    def __init__(self, port: int = 0) -> None:
        self.arrivals: list[Arrival] = []
        self._stopping = threading.Event()
        self._server: Server = serve(
            self._handle,
            "127.0.0.1",
            port,
            process_request=self._process_request,
            select_subprotocol=self._select_subprotocol,
            compression=None,
            logger=_quiet,
            max_size=None,
            max_queue=1,
            ping_interval=None,
            close_timeout=2,
        )
        self.port = int(self._server.socket.getsockname()[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join(5)

    def to(self, path: str) -> list[Arrival]:
        return [arrival for arrival in list(self.arrivals) if arrival.path.split("?")[0] == path]

    def wait_for(self, path: str, number: int = 1) -> Arrival:
        return wait_until(lambda: self.to(path)[number - 1 : number], f"a WebSocket for {path}")[0]

    def wait_until_ended(self, path: str, number: int = 1, timeout_seconds: float = 10.0) -> Arrival:
        arrival = self.wait_for(path, number)
        wait_until(lambda: arrival.ended, f"the upstream's end of {path}", timeout_seconds)
        return arrival

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path.split("?")[0].endswith("/refuse"):
            self.arrivals.append(Arrival(request))
            headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(REFUSAL))})
            headers["X-Upstream"] = "says no"
            return Response(HTTPStatus.FORBIDDEN, "Forbidden", headers, REFUSAL)
        return None

    def _select_subprotocol(self, connection: ServerConnection, offered: object) -> str | None:
        return "chat.v2" if "chat.v2" in list(offered) else None  # type: ignore[call-overload]

    def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        arrival = Arrival(connection.request)
        self.arrivals.append(arrival)
        behaviour = arrival.path.split("?")[0].split("/")
        try:
            with contextlib.suppress(ConnectionClosed):
                self._behave(connection, arrival, behaviour)
        finally:
            arrival.close_code = connection.close_code
            arrival.close_reason = connection.close_reason or ""
            arrival.ended = True

    def _behave(self, connection: ServerConnection, arrival: Arrival, path: list[str]) -> None:
        if path[-1] == "flood":
            while not self._stopping.is_set():
                connection.send(b"x" * 65536)
                arrival.sent += 1
            return
        if path[-1] == "deaf":
            # The library reads on by itself up to its queue of one message.
            while not self._stopping.wait(0.05):
                pass
            return
        for message in connection:
            arrival.messages.append(message)
            if path[-1] == "echo" or path[-1] == "protocol":
                connection.send(message)
            elif path[-1] == "vanish":
                _reset(connection.socket)
                return
            elif len(path) > 3 and path[-3] == "close":
                connection.close(int(path[-2]), unquote(path[-1]).removeprefix("-"))
                return

    def wait_until_flood_stops(self, arrival: Arrival, quiet_seconds: float = 1.0) -> int:
        """How many messages the flood had sent when it stood still for so long."""
        last, since = -1, time.monotonic()

        def stands_still() -> bool:
            nonlocal last, since
            if arrival.sent != last:
                last, since = arrival.sent, time.monotonic()
            return time.monotonic() - since > quiet_seconds

        wait_until(stands_still, "the flood stops", 20)
        return last


def _reset(stream: socket.socket) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # The library's own thread still reads it: only shutdown wakes that up.
    with contextlib.suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)
    stream.close()
