"""Lockout of failed sign-ins, on the wire: what a burst gets, what is answered, how it ends."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.end_to_end.configuration import configuration
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.services.deadline import wait_until
from tests.services.postgresql import PostgresqlServer
from tests.services.redis import RedisServer

LIMIT = 5
BURST = 50
PASSWORD = "a long enough pass phrase"
CREATE_ADMIN = """
from accounts.models import Principal
Principal.objects.create_superuser(name, password).pk
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql-and-two-workers"])
def locking(request: pytest.FixtureRequest, start_gateway: StartGateway) -> Iterator[GatewayProcess]:
    """A gateway behind a trusted proxy, so that every test has addresses of its own."""
    environment, arguments = {}, []
    if request.param != "sqlite":
        postgresql: PostgresqlServer = request.getfixturevalue("postgresql_server")
        redis: RedisServer = request.getfixturevalue("redis_server")
        environment = {"GATEWAY_DATABASE_URL": postgresql.new_database(), "GATEWAY_REDIS_URL": redis.url}
        arguments = ["--workers", "2"]
    running = start_gateway(
        configuration(services=[], routes=[], settings={"trusted_proxies": ["127.0.0.0/8"]}),
        environment=environment,
        arguments=arguments,
    )
    running.execute(CREATE_ADMIN, name="root", password=PASSWORD)
    yield running
    running.stop()


def ask(gateway: GatewayProcess, name: str, password: str, address: str) -> httpx.Response:
    return httpx.get(
        f"{gateway.url}/v1/audit?limit=1",
        auth=(name, password),
        headers={"X-Forwarded-For": address},
        trust_env=False,
        timeout=60,
    )


def sign_in(gateway: GatewayProcess, name: str, password: str, address: str) -> httpx.Response:
    """Fetch the page and send its form."""
    headers = {"X-Forwarded-For": address}
    with httpx.Client(base_url=gateway.url, headers=headers, trust_env=False, timeout=60) as client:
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/admin/login/").text)
        assert found is not None
        form = {"username": name, "password": password, "csrfmiddlewaretoken": found.group(1)}
        return client.post("/admin/login/", data=form)


def at_once(calls: list[Callable[[], httpx.Response]]) -> Counter[int]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return Counter(future.result().status_code for future in [pool.submit(call) for call in calls])


def login_records(gateway: GatewayProcess, address: str) -> list[dict[str, Any]]:
    return [row for row in gateway.audit_records(client_ip=address) if row["event"].startswith("login_")]


def recorded(gateway: GatewayProcess, address: str, count: int) -> Counter[str]:
    """The sign-ins from an address, as soon as there are so many."""
    rows = wait_until(
        lambda: len(found := login_records(gateway, address)) >= count and found,
        f"{count} records from {address}",
        timeout_seconds=20,
    )
    return Counter(row["event"] for row in rows)


@pytest.mark.parametrize("way", [ask, sign_in])
@pytest.mark.parametrize("name", ["root", "nobody-at-all"])
def test_burst_gets_no_more_password_checks_than_the_limit(
    locking: GatewayProcess, way: Callable[..., httpx.Response], name: str
) -> None:
    address = f"198.51.100.{1 + len(name) + len(way.__name__)}"
    statuses = at_once([lambda: way(locking, name, "wrong", address)] * BURST)
    assert set(statuses) <= {200 if way is sign_in else 401, 429}
    assert statuses[429] >= BURST - LIMIT
    events = recorded(locking, address, BURST)
    # A login_failed is an attempt whose password was looked at.
    assert events["login_failed"] == LIMIT
    assert events["login_locked_out"] >= BURST - LIMIT
    assert way(locking, name, PASSWORD, address).status_code == 429
    rejected = locking.audit_records(client_ip=address, event="api_key_rejected")
    assert {row["status"] for row in rejected} <= {401}
    assert len(rejected) <= LIMIT - 1


def test_burst_under_many_names_gets_few_checks_beyond_the_limit_of_an_address(
    locking: GatewayProcess,
) -> None:
    calls = [lambda name=f"n{number}": ask(locking, name, "wrong", "203.0.113.7") for number in range(80)]
    at_once(calls)
    events = recorded(locking, "203.0.113.7", 80)
    assert events["login_failed"] <= LIMIT * 10
    assert ask(locking, "root", PASSWORD, "203.0.113.7").status_code == 429
    assert ask(locking, "root", PASSWORD, "203.0.113.8").status_code == 200


def test_right_passwords_side_by_side_lock_nobody_out(locking: GatewayProcess) -> None:
    assert at_once([lambda: ask(locking, "root", PASSWORD, "203.0.113.9")] * 20) == {200: 20}


def test_answers_to_the_locked_tell_nothing(locking: GatewayProcess) -> None:
    for name in ("root", "nobody"):
        for _ in range(LIMIT):
            ask(locking, name, "wrong", "203.0.113.20")
    answers = [
        ask(locking, name, password, "203.0.113.20")
        for name in ("root", "nobody")
        for password in ("wrong", PASSWORD)
    ]
    for answer in answers:
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (429, "login_locked_out")
        assert error["request_id"] == answer.headers["X-Request-ID"]
        assert 0 < int(answer.headers["Retry-After"]) <= 900
    assert len({answer.json()["error"]["message"] for answer in answers}) == 1
    pages = [sign_in(locking, name, PASSWORD, "203.0.113.20") for name in ("root", "nobody")]
    assert {page.status_code for page in pages} == {429}
    assert all("Too many failed sign-ins" in page.text for page in pages)
    assert not any("gatehouse_session" in page.headers.get("set-cookie", "") for page in pages)


def test_ipv6_neighbours_are_one_client(locking: GatewayProcess) -> None:
    for number in range(LIMIT):
        ask(locking, "root", "wrong", f"2001:db8:7:7::{number:x}")
    assert ask(locking, "root", PASSWORD, "2001:db8:7:7:ffff::1").status_code == 429
    assert ask(locking, "root", PASSWORD, "2001:db8:7:8::1").status_code == 200


def test_unlocked_on_the_command_line_may_sign_in_again(locking: GatewayProcess) -> None:
    for _ in range(LIMIT):
        ask(locking, "root", "wrong", "203.0.113.30")
    assert ask(locking, "root", PASSWORD, "203.0.113.30").status_code == 429
    assert "Unlocked 203.0.113.30" in locking.command("unlock_login", "203.0.113.30").stdout
    assert ask(locking, "root", PASSWORD, "203.0.113.30").status_code == 200
    locking.wait_for_audit(event="login_unlocked")


def test_lockout_ends_although_attempts_go_on(start_gateway: StartGateway) -> None:
    short = start_gateway(environment={"GATEWAY_LOGIN_LOCKOUT_SECONDS": "3", "GATEWAY_LOGIN_FAILURES": "2"})
    short.execute(CREATE_ADMIN, name="root", password=PASSWORD)
    assert [ask(short, "root", "wrong", "").status_code for _ in range(2)] == [401, 429]
    wait_until(
        lambda: ask(short, "root", PASSWORD, "").status_code == 200, "the lockout ends", timeout_seconds=15
    )
    short.stop()
