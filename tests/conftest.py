"""Settings of the test run, before anything imports Django; and the fixtures that every test may use."""

import importlib
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from pytest_django.plugin import blocking_manager_key

from tests.environment import isolate

DATA_DIR = isolate()

import django  # noqa: E402  (only now: the settings are read once)
from django.conf import settings  # noqa: E402

# A file, not memory: threads that compile snapshots see the same rows as the test.
settings.DATABASES["default"].setdefault("TEST", {})["NAME"] = str(DATA_DIR / "test.sqlite3")
django.setup()

pytest_plugins = [
    "tests.services.redis",
    "tests.services.postgresql",
    "tests.services.nginx",
    "tests.services.browser",
    "tests.services.committed_database",
    "tests.services.small_disk",
    "tests.services.rabbitmq",
]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """A test with real commits empties every table at its end: put back the rows that migrations made."""
    yield
    if nextitem is None:
        # The run is over, and its database is gone already.
        return
    marker = item.get_closest_marker("django_db")
    if not (marker and marker.kwargs.get("transaction")) and "transactional_db" not in item.fixturenames:
        return
    with item.config.stash[blocking_manager_key].unblock():
        importlib.import_module("accounts.migrations.0002_seed").seed(django.apps.apps, None)


def pytest_unconfigure() -> None:
    shutil.rmtree(DATA_DIR, ignore_errors=True)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The GATEWAY_DATA_DIR of this test process."""
    return DATA_DIR


@pytest.fixture(scope="session")
def session_dir() -> Iterator[Path]:
    """A directory with a short path (sockets in it must fit 107 bytes), gone after the run."""
    directory = DATA_DIR / "session"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
