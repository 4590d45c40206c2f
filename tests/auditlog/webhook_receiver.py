"""The far end of the webhook sink: keeps what is posted, answers as told, can be away for a while."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that was killed or has closed is no fault of this end.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class WebhookReceiver:
    """Listens on a free port; `stop` and `start` keep the port."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.status, self.answer = 200, b""
        # Answers for the next requests, before `status` and `answer` count again; None breaks off.
        self.script: list[tuple[int, bytes] | None] = []
        self.port = 0
        self.start()

    def start(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.requests.append((dict(self.headers.items()), body))
                told = owner.script.pop(0) if owner.script else (owner.status, owner.answer)
                self.send_response(500 if told is None else told[0])
                answer = b"half" if told is None else told[1]
                self.send_header("Content-Length", str(len(answer) * (2 if told is None else 1)))
                self.end_headers()
                self.wfile.write(answer)
                self.close_connection = told is None or owner.stopping

            def log_message(self, *_: Any) -> None:
                pass

        self.stopping = False
        self.server = _Server(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/audit"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Connections that are open get their last answer; new ones are refused."""
        self.stopping = True
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def batches(self) -> dict[str, list[dict[str, Any]]]:
        """What came, by Idempotency-Key: as a receiver keeps it that heeds the key."""
        bodies = {headers["Idempotency-Key"]: body for headers, body in list(self.requests)}
        return {key: json.loads(body)["records"] for key, body in bodies.items()}
