"""The compose file: its services exist in the code, its variables are documented, and its commands work.

Docker is not needed: the commands are run as they stand, with addresses of this machine.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from django.core.management import get_commands

from tests.end_to_end.control import PROJECT_DIR
from tests.end_to_end.gateway_process import clean_environment
from tests.services.deadline import wait_until
from tests.services.ports import free_port
from tests.services.redis import RedisServer
from tests.services.server_process import ServerProcess

DIRECTORY = PROJECT_DIR / "deploy" / "docker"
FILE: dict[str, Any] = yaml.safe_load((DIRECTORY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "gatehouse"}
ENVIRONMENT: dict[str, str] = OURS["gateway"]["environment"]
# `${NAME:-default}` and `${NAME:?what to do}`.
VARIABLE = re.compile(r"\$\{(\w+)(?::[-?]([^}]*))?\}")


def test_every_part_of_an_installation_has_a_service() -> None:
    assert set(OURS) == {"setup", "gateway", "control", "shipper", "worker", "beat"}
    assert set(SERVICES) - set(OURS) == {"postgres", "redis"}


@pytest.mark.parametrize("name", OURS)
def test_command_of_a_service_exists(name: str) -> None:
    command = OURS[name]["command"]
    calls = shlex.split(command[2].replace("&&", " ; ")) if command[:2] == ["sh", "-c"] else command
    called = []
    while calls:
        end = calls.index(";") if ";" in calls else len(calls)
        called.append(calls[:end])
        calls = calls[end + 1 :]
    for words in called:
        if words[0] == "celery":
            assert words[1:4] in (["-A", "gateway_site", "worker"], ["-A", "gateway_site", "beat"])
        else:
            assert words[:2] == ["python", "manage.py"]
            assert words[2] in get_commands()


def test_variables_are_documented_ones() -> None:
    documented = set(re.findall(r"^#?(GATEWAY_\w+)=", (PROJECT_DIR / ".env.example").read_text(), re.M))
    dockerfile = (DIRECTORY / "Dockerfile").read_text()
    used = {name for service in OURS.values() for name in service["environment"]}
    used |= set(re.findall(r"\b(GATEWAY_\w+)=", dockerfile))
    assert used
    assert used - documented == set()


@pytest.mark.parametrize("name", OURS)
def test_every_process_shares_keys_and_spool(name: str) -> None:
    mounted = dict(reversed(entry.split(":")) for entry in OURS[name]["volumes"])
    variables = dict(re.findall(r"(GATEWAY_\w+)=(\S+)", (DIRECTORY / "Dockerfile").read_text()))
    assert mounted[variables["GATEWAY_AUDIT_SPOOL_DIR"]] == "spool"
    assert mounted[f"{variables['GATEWAY_DATA_DIR']}/keys"] == "keys"
    assert set(mounted.values()) <= set(FILE["volumes"])


def test_everything_waits_for_what_it_needs() -> None:
    for name, service in OURS.items():
        for needed, condition in service["depends_on"].items():
            assert needed in SERVICES
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed]
        assert name == "setup" or "setup" in service["depends_on"]


def test_image_leaves_the_developers_packages_out_and_the_product_in() -> None:
    cut = subprocess.run(
        ["sed", "/^# Tests$/,$d", "requirements.txt"],
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = {re.split(r"[=\[]", line)[0].lower() for line in cut.splitlines() if line[:1].isalpha()}
    assert {"django", "celery", "psycopg", "redis", "orjson"} <= names
    assert names & {"pytest", "ruff", "mypy", "playwright"} == set()
    copied = re.findall(r"^COPY (\w+) \1$", (DIRECTORY / "Dockerfile").read_text(), re.M)
    packages = {path.parent.name for path in PROJECT_DIR.glob("*/apps.py")}
    assert packages <= set(copied)


# --- the commands at work ---------------------------------------------------------------------


class Composed:
    """The services as processes of this machine."""

    def __init__(self, directory: Path, database_url: str, redis_url: str) -> None:
        self.directory = directory
        self.database_url = database_url
        # What a user gives, and this machine's addresses for those of the containers.
        given = {
            name: default.replace("set POSTGRES_PASSWORD to ", "") for name, default in self._variables()
        }
        filled = {
            name: VARIABLE.sub(lambda found: given[found[1]], ENVIRONMENT[name]) for name in ENVIRONMENT
        }
        addresses = {
            "GATEWAY_DATABASE_URL": database_url,
            "GATEWAY_REDIS_URL": f"{redis_url}/7",
            "GATEWAY_CELERY_BROKER_URL": f"{redis_url}/8",
        }
        assert set(addresses) <= set(filled)
        self.environment = clean_environment(directory / "data", filled | addresses)
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{self.environment['PATH']}"
        self.running: dict[str, ServerProcess] = {}

    @staticmethod
    def _variables() -> set[tuple[str, str]]:
        found = VARIABLE.findall((DIRECTORY / "compose.yaml").read_text())
        return {(name, default) for name, default in found}

    def start(self, name: str, port: int = 0) -> ServerProcess:
        words = [word.replace("0.0.0.0:8000", f"127.0.0.1:{port}") for word in OURS[name]["command"]]
        process = ServerProcess(words, self.directory / f"{name}.log", self.environment)
        self.running[name] = process
        return process

    def stored(self, event: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            sql = "SELECT request_id FROM auditlog_auditrecord WHERE event = %s"
            return connection.execute(sql, [event]).fetchall()


@pytest.fixture
def composed(tmp_path: Path, postgresql_url: str, redis_server: RedisServer) -> Iterator[Composed]:
    composed = Composed(tmp_path, postgresql_url, redis_server.url.removesuffix("/0"))
    yield composed
    for process in reversed(composed.running.values()):
        process.kill()


@pytest.mark.timeout(240)
def test_services_work_together_as_they_are_composed(composed: Composed) -> None:
    assert composed.start("setup").process.wait(90) == 0, composed.running["setup"].log()
    ports = {"gateway": free_port(), "control": free_port()}
    for name in ("shipper", "worker", "beat"):
        composed.start(name)
    for name, port in ports.items():
        composed.start(name, port).wait_for_port(port, 60)
        check = OURS[name]["healthcheck"]["test"]
        words = [word.replace("127.0.0.1:8000", f"127.0.0.1:{port}") for word in check[1:]]
        wait_until(
            lambda words=words: subprocess.run(words, env=composed.environment, check=False).returncode == 0,
            f"{name} is healthy",
            60,
        )
    with httpx.Client(trust_env=False) as client:
        refused = client.get(f"http://127.0.0.1:{ports['gateway']}/nothing/here")
        assert refused.status_code == 404
        assert client.get(f"http://127.0.0.1:{ports['control']}/admin/login/").status_code == 200
        # The planes are apart: neither answers for the other.
        assert client.get(f"http://127.0.0.1:{ports['gateway']}/admin/login/").status_code == 404
    wanted = (refused.headers["X-Request-ID"],)
    wait_until(lambda: wanted in composed.stored("request_completed"), "the record is stored", 60)
    assert "auditlog.deliver" in composed.running["worker"].log()
    wait_until(lambda: "beat: Starting" in composed.running["beat"].log(), "beat counts the time", 30)
    for name in ("beat", "gateway", "control", "shipper", "worker"):
        assert composed.running[name].stop(timeout_seconds=45) == 0, f"{name}: {composed.running[name].log()}"
