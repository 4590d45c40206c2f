"""A private nginx with the configuration that a test gives it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services.ports import free_port
from tests.services.server_process import ServerProcess, require_program

_FRAME = """\
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{http}
}}
"""


class NginxServer:
    """nginx in the foreground; `http` is what stands inside its http block, with {port} for its port."""

    def __init__(self, directory: Path, http: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        program = require_program(["nginx"], "nginx")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        configuration = directory / "nginx.conf"
        configuration.write_text(
            _FRAME.format(directory=directory, http=http.replace("{port}", str(self.port)))
        )
        command = [program, "-p", str(directory), "-c", str(configuration)]
        # -e: the log it opens before it has read the configuration is not the system's.
        command += ["-e", str(directory / "error.log")]
        self.server = ServerProcess(command, directory / "nginx.log")
        self.server.wait_for_port(self.port)

    def stop(self) -> None:
        self.server.stop()


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[Callable[[str], NginxServer]]:
    """start_nginx("server { listen 127.0.0.1:{port}; … }") gives a running nginx."""
    servers: list[NginxServer] = []

    def start(http: str) -> NginxServer:
        servers.append(NginxServer(tmp_path / f"nginx-{len(servers)}", http))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
