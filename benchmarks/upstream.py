"""The service behind every contestant: nginx answering one fixed 1 KB JSON document."""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmarks.servers import LOAD_CORE, Launch, Server, fetch, tool

BODY_SIZE_BYTES = 1024


def _document() -> bytes:
    order: dict[str, object] = {"id": 7, "state": "filled", "symbol": "ABC", "quantity": 100, "note": ""}
    padding = BODY_SIZE_BYTES - len(json.dumps(order).encode())
    order["note"] = "x" * padding
    return json.dumps(order).encode()


BODY = _document()

CONFIGURATION = """
{user}
worker_processes 1;
daemon off;
pid {directory}/upstream.pid;
error_log {directory}/upstream-error.log error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {directory}/upstream-body;
    proxy_temp_path {directory}/upstream-proxy;
    fastcgi_temp_path {directory}/upstream-fastcgi;
    uwsgi_temp_path {directory}/upstream-uwsgi;
    scgi_temp_path {directory}/upstream-scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 '{body}'; }}
    }}
}}
"""


def nginx_user() -> str:
    """nginx drops to a user of its own when root starts it, and that one can't write to our directory."""
    return "user root;" if os.geteuid() == 0 else ""


def upstream(directory: Path, port: int, core: int = LOAD_CORE) -> Server:
    """The upstream as a server that isn't started yet."""
    configuration = directory / "upstream.conf"
    configuration.write_text(
        CONFIGURATION.format(user=nginx_user(), directory=directory, port=port, body=BODY.decode())
    )
    command = [tool("nginx"), "-p", str(directory), "-e", str(directory / "upstream-error.log")]
    launch = Launch(command=[*command, "-c", str(configuration)], log=directory / "upstream.log")
    return Server(launch, core, ready=lambda: fetch(port, "/orders/7") == (200, BODY))
