"""The servers that other tests rely on really run, and really end."""

from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest
import redis
from playwright.sync_api import Page

from tests.services.nginx import NginxServer
from tests.services.postgresql import PostgresqlServer
from tests.services.redis import RedisServer
from tests.services.server_process import ServerProcess, require_program

GREETING = """
server { listen 127.0.0.1:{port}; default_type text/html; location / { return 200 "<h1>hello</h1>"; } }
"""


def test_redis_keeps_a_value_and_ends_when_stopped(own_redis: RedisServer) -> None:
    client = redis.Redis.from_url(own_redis.url)
    client.set("colour", "green")
    assert client.get("colour") == b"green"
    client.close()
    own_redis.stop()
    assert own_redis.server.process.returncode == 0


def test_postgresql_gives_each_test_an_empty_database(postgresql_server: PostgresqlServer) -> None:
    first, second = postgresql_server.new_database(), postgresql_server.new_database()
    with psycopg.connect(first, autocommit=True) as connection:
        connection.execute("CREATE TABLE colour (name text)")
    with psycopg.connect(second) as connection:
        found = connection.execute("SELECT to_regclass('colour')").fetchone()
    assert found == (None,)


def test_nginx_serves_the_configuration_it_was_given(start_nginx: Callable[[str], NginxServer]) -> None:
    answer = httpx.get(start_nginx(GREETING).url, trust_env=False)
    assert (answer.status_code, answer.text) == (200, "<h1>hello</h1>")


def test_browser_shows_a_page(page: Page, start_nginx: Callable[[str], NginxServer]) -> None:
    page.goto(start_nginx(GREETING).url)
    assert page.inner_text("h1") == "hello"


def test_server_that_ends_at_once_is_reported_with_its_output(tmp_path: Path) -> None:
    server = ServerProcess(["sh", "-c", "echo wrong option; exit 3"], tmp_path / "log")
    with pytest.raises(AssertionError, match=r"ended with 3:\s+wrong option"):
        server.wait_for_port(1)


def test_missing_program_fails_the_test_and_names_the_package() -> None:
    with pytest.raises(pytest.fail.Exception, match="apt-get install rainbow"):
        require_program(["no-such-program"], "rainbow")
