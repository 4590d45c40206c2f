"""ClickHouse's HTTP interface in front of chdb, the same engine as a library: a server for tests."""

import gzip
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest


class ClickHouseServer:
    """Answers POST /?query=… with the engine's own answer. Its one session takes one request at a time."""

    def __init__(self, directory: Path) -> None:
        try:
            from chdb.session import Session
        except ImportError:
            pytest.fail(
                "the engine is missing: pip install --no-deps chdb-core (make test does it)", pytrace=False
            )
        self.session = Session(str(directory))
        self.session.query("CREATE DATABASE IF NOT EXISTS tests ENGINE = Atomic")
        self.session.query("USE tests")
        self.failing = False
        # How many lines of the next insertion are stored before it fails.
        self.break_after: int | None = None
        self.lock = threading.Lock()
        self.requests = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner.requests += 1
                body = self._body()
                with owner.lock:
                    status, answer = owner.answer(self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST

            def _body(self) -> bytes:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if not body and self.headers.get("Transfer-Encoding") == "chunked":
                    body = self._chunks()
                return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

            def _chunks(self) -> bytes:
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"clickhouse://default@127.0.0.1:{self.server.server_port}/tests"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        if self.failing:
            return 503, b"down"
        parameters = dict(parse_qsl(urlsplit(path).query, keep_blank_values=True))
        sql = parameters.get("query", "")
        if not sql and body.startswith(b"INSERT"):
            head, _, body = body.partition(b"\n")
            sql = head.decode()
        try:
            if sql.startswith("INSERT"):
                if self.break_after is not None:
                    part, self.break_after = body.splitlines(keepends=True)[: self.break_after], None
                    self._insert(sql, b"".join(part))
                    return 500, b"Code: 241. DB::Exception: Memory limit (total) exceeded"
                return 200, self._insert(sql, body)
            sql = sql or body.decode()
            values = {
                name.removeprefix("param_"): value
                for name, value in parameters.items()
                if name.startswith("param_")
            }
            form = parameters.get("default_format", "TabSeparated")
            return 200, bytes(self.session.query(sql, form, params=values).bytes())
        except Exception as error:
            return 500, str(error).encode()

    def _insert(self, sql: str, body: bytes) -> bytes:
        """The library has no stream of input: the data goes through a file."""
        into, _, form = sql.partition(" FORMAT ")
        columns = into[into.index("(") + 1 : into.rindex(")")]
        table = into.split()[2]
        with tempfile.NamedTemporaryFile() as file:
            file.write(body)
            file.flush()
            source = f"file('{file.name}', '{form.strip()}')"
            self.session.query(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {source}")
        return b""

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.session.close()
