"""An upstream on raw sockets: it records every byte that reached it and answers by script."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

from tests.end_to_end.upstream_connection import HungUp, ReceivedRequest, UpstreamConnection
from tests.end_to_end.upstream_script import Script, echo
from tests.services.deadline import wait_until


class StubUpstream:
    """Listens on a free port. A path without a script is answered by `echo()`.

    `requests` holds every request head that came, in order; `connections` every connection with all
    of its bytes in `received`. Tests that share a stub tell their requests apart by path.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[ReceivedRequest] = []
        self.connections: list[UpstreamConnection] = []
        self._tls = tls
        self._scripts: dict[str, list[Script]] = {}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before when there was one."""
        self._stopping = threading.Event()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(512)
        self._listener.settimeout(0.05)
        self.port = int(self._listener.getsockname()[1])
        self._run(self._accept, self._listener, self._stopping)

    def stop(self) -> None:
        """Stop listening and break every connection, as a crashed upstream would."""
        self._stopping.set()
        for thread in list(self._threads):
            thread.join(5)
        self._threads.clear()

    def script(self, path: str, *scripts: Script) -> None:
        """Answer requests for `path`, whatever the query, by these in turn; the last one stays."""
        self._scripts[path] = list(scripts)

    def to(self, path: str) -> list[ReceivedRequest]:
        """The requests whose target's path is `path`."""
        wanted = path.encode("latin-1")
        return [request for request in list(self.requests) if request.target.split(b"?")[0] == wanted]

    def wait_for_request(self, path: str, number: int = 1, timeout_seconds: float = 5.0) -> ReceivedRequest:
        """The `number`th request for `path`, waiting until its head is here."""

        def probe() -> list[ReceivedRequest]:
            found = self.to(path)
            return found[number - 1 : number]

        return wait_until(probe, f"request {number} for {path} at the upstream", timeout_seconds)[0]

    def wait_for_body(self, path: str, timeout_seconds: float = 5.0) -> ReceivedRequest:
        request = self.wait_for_request(path, timeout_seconds=timeout_seconds)
        wait_until(lambda: request.complete, f"the body of {path} at the upstream", timeout_seconds)
        return request

    def connection_of(self, request: ReceivedRequest) -> UpstreamConnection:
        return self.connections[request.connection]

    def wait_until_closed(self, request: ReceivedRequest, timeout_seconds: float = 5.0) -> None:
        """Wait until the connection this request came over is closed."""
        connection = self.connection_of(request)
        wait_until(lambda: connection.closed, "the gateway closes the connection", timeout_seconds)

    def received_bytes(self) -> bytes:
        """All that ever came, over any connection."""
        return b"".join(bytes(connection.received) for connection in list(self.connections))

    def _run(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket, stopping: threading.Event) -> None:
        with listener:
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    stream, _ = listener.accept()
                    self._run(self._serve, stream, stopping)

    def _serve(self, stream: socket.socket, stopping: threading.Event) -> None:
        stream.settimeout(5)
        if self._tls is not None:
            try:
                stream = self._tls.wrap_socket(stream, server_side=True)
            except OSError:
                stream.close()
                return
        with self._lock:
            connection = UpstreamConnection(len(self.connections), stream, stopping)
            self.connections.append(connection)
        try:
            while not connection.closed:
                request = connection.next_request()
                self.requests.append(request)
                for step in self._next_script(request):
                    step(connection)
        except (HungUp, OSError, ValueError):
            # ValueError: the gateway sent framing that can't be read; the bytes are recorded.
            pass
        finally:
            connection.close()

    def _next_script(self, request: ReceivedRequest) -> Script:
        path = request.target.split(b"?")[0].decode("latin-1")
        with self._lock:
            scripts = self._scripts.get(path)
            if not scripts:
                return [echo()]
            return scripts.pop(0) if len(scripts) > 1 else scripts[0]
