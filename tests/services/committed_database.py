"""A real database for one test, with transactions that commit: SQLite in a file, or PostgreSQL.

Each is copied from one that was migrated once. Every thread of the test sees it as the default
database; the run's own comes back afterwards.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import environ
import pytest
from django.core.management import call_command
from django.db import connections

from tests.services.postgresql import PostgresqlServer

_numbers = itertools.count(1)


@contextmanager
def served_by(url: str) -> Iterator[None]:
    """Let the default database be the one at `url`, in this thread and in threads started from now on."""
    own_settings, own_connection = connections.settings["default"], connections["default"]
    options = environ.Env.db_url_config(url)
    if "sqlite3" in options["ENGINE"]:
        options["OPTIONS"] = own_settings["OPTIONS"]
    connections.settings["default"] = connections.configure_settings({"default": options})["default"]
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connections["default"].close()
        connections.settings["default"] = own_settings
        connections["default"] = own_connection


def migrated(url: str) -> None:
    with served_by(url):
        call_command("migrate", verbosity=0)


@pytest.fixture(scope="session")
def sqlite_copies(data_dir: Path, django_db_blocker: Any) -> Callable[[], str]:
    """Makes URLs of migrated SQLite files."""
    template = data_dir / "template.sqlite3"
    with django_db_blocker.unblock():
        migrated(f"sqlite:///{template}")

    def copy() -> str:
        path = data_dir / f"committed-{next(_numbers)}.sqlite3"
        shutil.copy(template, path)
        return f"sqlite:///{path}"

    return copy


@pytest.fixture(scope="session")
def postgresql_copies(postgresql_server: PostgresqlServer, django_db_blocker: Any) -> Callable[[], str]:
    """Makes URLs of migrated PostgreSQL databases."""
    import psycopg

    template = postgresql_server.new_database()
    with django_db_blocker.unblock():
        migrated(template)

    def copy() -> str:
        name = f"committed_{next(_numbers)}"
        source = template.rpartition("/")[2]
        with psycopg.connect(postgresql_server.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"'.encode())
        return postgresql_server.url(name)

    return copy


@pytest.fixture(params=["sqlite", "postgresql"])
def committed_database(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[str]:
    """Its URL; the test runs once for each engine."""
    url = request.getfixturevalue(f"{request.param}_copies")()
    with django_db_blocker.unblock(), served_by(url):
        yield url


@pytest.fixture
def committed_postgresql(postgresql_copies: Callable[[], str], django_db_blocker: Any) -> Iterator[str]:
    url = postgresql_copies()
    with django_db_blocker.unblock(), served_by(url):
        yield url


@pytest.fixture
def committed_sqlite(sqlite_copies: Callable[[], str], django_db_blocker: Any) -> Iterator[str]:
    url = sqlite_copies()
    with django_db_blocker.unblock(), served_by(url):
        yield url
