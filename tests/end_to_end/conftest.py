"""Fixtures of the end-to-end tests: one gateway and one upstream for most, more for who needs them."""

import fcntl
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.certificates import CertificateAuthority
from tests.end_to_end.configuration import shared_configuration, websocket_configuration
from tests.end_to_end.control import PROJECT_DIR
from tests.end_to_end.gateway_process import GatewayProcess, clean_environment
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.websocket_upstream import WebSocketUpstream

StartGateway = Callable[..., GatewayProcess]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def migrated_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite database; the parallel test processes of a run make it once."""
    shared = tmp_path_factory.getbasetemp()
    if shared.name.startswith("popen-"):
        shared = shared.parent
    data_dir = shared / "migrated"
    with (shared / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (data_dir / "done").exists():
            subprocess.run(
                [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
                env=clean_environment(data_dir),
                cwd=PROJECT_DIR,
                check=True,
            )
            (data_dir / "done").touch()
    return data_dir / "gatehouse.sqlite3"


@pytest.fixture(scope="session")
def certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def upstream() -> Iterator[StubUpstream]:
    """The upstream behind the shared gateway."""
    stub = StubUpstream()
    yield stub
    stub.stop()


@pytest.fixture(scope="session")
def gateway(
    upstream: StubUpstream, migrated_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """The gateway that most tests share: don't stop it, and leave its configuration as it is."""
    running = GatewayProcess(
        tmp_path_factory.mktemp("gateway"),
        configuration=shared_configuration(upstream.url),
        template=migrated_template,
    )
    yield running
    running.stop()


@pytest.fixture(scope="session")
def sockets() -> Iterator[WebSocketUpstream]:
    """The upstream of the WebSocket tests."""
    running = WebSocketUpstream()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def relay(
    sockets: WebSocketUpstream, migrated_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """The gateway of the WebSocket tests: as with `gateway`, leave it as it is."""
    running = GatewayProcess(
        tmp_path_factory.mktemp("relay"),
        configuration=websocket_configuration(sockets.url),
        template=migrated_template,
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def start_gateway(
    migrated_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartGateway]:
    """start_gateway(configuration, **options of GatewayProcess): further gateways, ended with the module."""
    started: list[GatewayProcess] = []

    def start(configuration: dict[str, Any] | None = None, **options: Any) -> GatewayProcess:
        environment = options.get("environment") or {}
        if "GATEWAY_DATABASE_URL" not in environment:
            options.setdefault("template", migrated_template)
        started.append(GatewayProcess(tmp_path_factory.mktemp("gateway"), configuration, **options))
        return started[-1]

    yield start
    for running in started:
        running.release()


@pytest.fixture
def start_upstream() -> Iterator[Callable[..., StubUpstream]]:
    """start_upstream(tls=None): an upstream for one test."""
    stubs: list[StubUpstream] = []

    def start(**options: Any) -> StubUpstream:
        stubs.append(StubUpstream(**options))
        return stubs[-1]

    yield start
    for stub in stubs:
        stub.stop()


@pytest.fixture
def name() -> str:
    """A path segment that no other test uses: /open/<name>."""
    return f"t{next(_numbers)}"
