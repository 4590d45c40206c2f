"""Fixtures of the example services: one process of each for most tests, shared by those of a worker.

Tests add their own records and runs; they leave those that a service starts with as they are.
"""

from collections.abc import Iterator

import httpx
import pytest

from tests.examples.service_process import ServiceProcess


def _serving(name: str) -> Iterator[ServiceProcess]:
    service = ServiceProcess(name)
    yield service
    service.stop()


@pytest.fixture(scope="session")
def backtest_engine() -> Iterator[ServiceProcess]:
    yield from _serving("backtest_engine")


@pytest.fixture(scope="session")
def orders_service() -> Iterator[ServiceProcess]:
    yield from _serving("orders")


@pytest.fixture(scope="session")
def products_service() -> Iterator[ServiceProcess]:
    yield from _serving("products")


@pytest.fixture(scope="session")
def users_service() -> Iterator[ServiceProcess]:
    yield from _serving("users")


@pytest.fixture
def engine(backtest_engine: ServiceProcess) -> httpx.Client:
    return backtest_engine.client


@pytest.fixture
def orders(orders_service: ServiceProcess) -> httpx.Client:
    return orders_service.client


@pytest.fixture
def products(products_service: ServiceProcess) -> httpx.Client:
    return products_service.client


@pytest.fixture
def users(users_service: ServiceProcess) -> httpx.Client:
    return users_service.client
