"""A private RabbitMQ on free ports, with the port mapper of its Erlang as a process of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.ports import free_port
from tests.services.server_process import ServerProcess, require_program

# Debian's wrapper in the path changes the user; the program itself runs as whoever starts it.
PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
START_SECONDS = 90.0


class RabbitmqServer:
    """One node, its queues on disk; it can be stopped and started again on its port."""

    def __init__(self) -> None:
        # Short: Erlang keeps its cookie and files there.
        self.directory = Path(tempfile.mkdtemp(prefix="gatehouse-mq-", dir="/tmp"))
        program = require_program([PROGRAM], "rabbitmq-server")
        mapper = require_program(["epmd"], "rabbitmq-server")
        self.port, mapper_port = free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        plugins = self.directory / "enabled_plugins"
        plugins.write_text("[].\n")
        self._command = [program]
        self._environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.directory),
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"gatehouse{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self.directory / "none"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.directory / "generated"),
        }
        # Started here, or the first node would leave one behind as a daemon.
        self._mapper = ServerProcess(
            [mapper, "-port", str(mapper_port)], self.directory / "epmd.log", self._environment
        )
        self._mapper.wait_for_port(mapper_port)
        self.start()

    def start(self) -> None:
        self.server = ServerProcess(self._command, self.directory / "rabbitmq.log", self._environment)
        self.server.wait_for_port(self.port, START_SECONDS)

    def stop(self) -> None:
        self.server.stop(timeout_seconds=30)

    def remove(self) -> None:
        self.server.kill()
        self._mapper.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def own_rabbitmq() -> Iterator[RabbitmqServer]:
    """A broker for one test, which may stop it. It takes about 10 seconds to start."""
    server = RabbitmqServer()
    yield server
    server.remove()
