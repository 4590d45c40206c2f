"""A private redis-server on a free port."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.ports import free_port
from tests.services.server_process import ServerProcess, require_program


class RedisServer:
    """One redis-server without persistence; it can be stopped and started again on its port."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.program = require_program(["redis-server"], "redis-server")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        options += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        self.server = ServerProcess([self.program, *options], self.directory / "redis.log")
        self.server.wait_for_port(self.port)

    def stop(self) -> None:
        self.server.stop()


@pytest.fixture(scope="session")
def redis_server(session_dir: Path) -> Iterator[RedisServer]:
    """A Redis that the tests of this process share: use keys of your own."""
    server = RedisServer(session_dir / "redis")
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for one test, which may stop, pause or fill it."""
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()
    shutil.rmtree(server.directory, ignore_errors=True)
