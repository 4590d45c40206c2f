"""A gateway starts only when it should, serves while its database is away, and ends in good order."""

import os
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.certificates import CertificateAuthority
from tests.end_to_end.configuration import ALICE_KEY, configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import ConnectionEnded, RawClient, request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import read_body, response, send, wait_for, wait_for_hang_up
from tests.services.deadline import wait_until
from tests.services.ports import free_port
from tests.services.postgresql import PostgresqlServer
from tests.services.process_table import Process, family, with_variable
from tests.services.redis import RedisServer

KEY = f"X-API-Key: {ALICE_KEY}"


def small_configuration(*urls: str) -> dict[str, object]:
    return configuration(
        services=[service("stub", *urls, timeouts={"connect": 2, "response": 20, "idle": 20})],
        routes=[route("open", "/open"), route("private", "/private", access="authenticated")],
    )


def test_sigterm_lets_requests_under_way_finish(
    start_gateway: StartGateway, upstream: StubUpstream, name: str
) -> None:
    running = start_gateway(small_configuration(upstream.url))
    go_on = threading.Event()
    upstream.script(f"/open/{name}", [read_body(), wait_for(go_on), send(response(body=b"finished"))])
    with running.connect() as client:
        client.send(request_bytes(f"/open/{name}"))
        upstream.wait_for_request(f"/open/{name}")
        running.send_signal(signal.SIGTERM)
        wait_until(lambda: not accepts(running), "no new connection is served")
        go_on.set()
        answer = client.read_response()
    assert (answer.status, answer.body) == (200, b"finished")
    running.stop()


def test_shipper_that_is_killed_is_replaced(start_gateway: StartGateway, upstream: StubUpstream) -> None:
    running = start_gateway(small_configuration(upstream.url))

    def shippers() -> list[Process]:
        return [process for process in family(running.pid) if " audit ship" in process.command]

    first = wait_until(shippers, "the shipper runs")[0]
    os.kill(first.pid, signal.SIGKILL)
    replaced = wait_until(
        lambda: [each for each in shippers() if each.pid != first.pid], "another shipper runs", 20
    )
    assert len(replaced) == 1
    assert running.log_records(logger="gatehouse.server", level="WARNING")
    running.stop()


def accepts(gateway: GatewayProcess) -> bool:
    try:
        with RawClient(gateway.port, timeout_seconds=1) as client:
            return client.request("GET", "/open/probe").status == 200
    except (OSError, ConnectionEnded):
        return False


def test_second_gateway_on_the_same_port_is_refused(
    start_gateway: StartGateway, upstream: StubUpstream
) -> None:
    running = start_gateway(small_configuration(upstream.url))
    other = running.command("gateway", "--bind", f"127.0.0.1:{running.port}", may_fail=True)
    assert other.returncode != 0
    assert "in use" in other.stderr + other.stdout
    assert running.request("GET", "/open/x").status == 200
    running.stop()


REFUSED_STARTS = {
    "workers-without-redis": ({}, ["--workers", "2"], "GATEWAY_REDIS_URL"),
    "no-workers": ({}, ["--workers", "0"], "--workers"),
    "unknown-role": ({}, ["--role", "both"], "--role"),
    "bind-without-port": ({}, ["--bind", "127.0.0.1"], "HOST:PORT"),
    "production-without-keys": ({"GATEWAY_ENV": "production"}, [], "GATEWAY_SECRET_KEY"),
    "production-with-debug": ({"GATEWAY_ENV": "production", "GATEWAY_DEBUG": "1"}, [], "GATEWAY_DEBUG"),
    "production-with-dev-auth": (
        {"GATEWAY_ENV": "production", "GATEWAY_AUTH_MODE": "dev"},
        [],
        "GATEWAY_AUTH_MODE",
    ),
    "production-with-any-host": (
        {"GATEWAY_ENV": "production", "GATEWAY_ALLOWED_HOSTS": "*"},
        [],
        "ALLOWED_HOSTS",
    ),
    "unknown-environment": ({"GATEWAY_ENV": "prod"}, [], "GATEWAY_ENV"),
}


@pytest.mark.parametrize("environment, arguments, named", REFUSED_STARTS.values(), ids=REFUSED_STARTS.keys())
def test_dangerous_start_is_refused_and_says_why(
    gateway: GatewayProcess, tmp_path: Path, environment: dict[str, str], arguments: list[str], named: str
) -> None:
    kept = gateway.environment
    gateway.environment = kept | {"GATEWAY_DATA_DIR": str(tmp_path)} | environment
    bind = [] if "--bind" in arguments else ["--bind", f"127.0.0.1:{free_port()}"]
    try:
        done = gateway.command("gateway", *bind, *arguments, may_fail=True)
    finally:
        gateway.environment = kept
    assert done.returncode != 0
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_two_workers_obey_a_revocation_within_two_seconds(
    start_gateway: StartGateway, upstream: StubUpstream, redis_server: RedisServer
) -> None:
    running = start_gateway(
        small_configuration(upstream.url),
        environment={"GATEWAY_REDIS_URL": redis_server.url},
        arguments=["--workers", "2"],
    )
    key = running.issue_key("alice", "shared")
    running.wait_until_current()
    clients = [running.connect() for _ in range(16)]
    for client in clients:
        assert client.request("GET", "/private/x", headers={"X-API-Key": key}).status == 200
    running.control.execute(
        "from accounts.models import ApiKey\nfrom accounts.keys import revoke_key\n"
        "revoke_key(ApiKey.objects.get(name='shared'))"
    )
    revoked_at = time.monotonic()

    def all_refuse() -> bool:
        return all(c.request("GET", "/private/x", headers={"X-API-Key": key}).status == 401 for c in clients)

    wait_until(all_refuse, "every connection, on every worker, refuses the key", timeout_seconds=5)
    assert time.monotonic() - revoked_at <= 2.5
    for client in clients:
        client.close()
    running.stop()


def test_redis_that_goes_away_lets_nobody_in_and_nothing_down(
    start_gateway: StartGateway, upstream: StubUpstream, own_redis: RedisServer
) -> None:
    running = start_gateway(
        small_configuration(upstream.url),
        environment={"GATEWAY_REDIS_URL": own_redis.url},
        arguments=["--workers", "2"],
    )
    own_redis.stop()
    for _ in range(10):
        assert running.exchange(request_bytes("/private/x", KEY)).status == 200
        assert running.exchange(request_bytes("/private/x", "X-API-Key: nobodys-key-at-all")).status == 401
    # Changes still arrive: every worker asks the database each second.
    key = running.issue_key("alice", "without-redis")
    assert running.exchange(request_bytes("/private/x", f"X-API-Key: {key}")).status == 200
    readiness = httpx.get(f"{running.url}/v1/health", trust_env=False)
    assert (readiness.status_code, readiness.json()["failing"]) == (503, ["redis"])
    own_redis.start()
    wait_until(
        lambda: httpx.get(f"{running.url}/v1/health", trust_env=False).status_code == 200,
        "readiness comes back",
    )
    running.stop(may_log_tracebacks=True)


def test_database_that_goes_away_leaves_the_last_configuration_serving(
    start_gateway: StartGateway, upstream: StubUpstream, own_postgresql: PostgresqlServer
) -> None:
    environment = {"GATEWAY_DATABASE_URL": own_postgresql.new_database()}
    running = start_gateway(small_configuration(upstream.url), environment=environment)
    assert running.exchange(request_bytes("/private/x", KEY)).status == 200

    running.control.stop()
    own_postgresql.stop()
    assert running.exchange(request_bytes("/private/x", KEY)).status == 200
    assert running.exchange(request_bytes("/private/x", "X-API-Key: nobodys-key-at-all")).status in (401, 503)
    readiness = httpx.get(f"{running.url}/v1/health", trust_env=False, timeout=10)
    assert (readiness.status_code, readiness.json()["failing"]) == (503, ["database"])
    assert httpx.get(f"{running.url}/healthz", trust_env=False).status_code == 200

    # It even starts without its database, from what it kept.
    running.server.stop(timeout_seconds=45)
    running.start()
    assert running.exchange(request_bytes("/open/x")).status == 200
    assert running.exchange(request_bytes("/private/x")).status == 401

    own_postgresql.start()
    key = running.issue_key("alice", "after")
    assert running.exchange(request_bytes("/private/x", f"X-API-Key: {key}")).status == 200
    running.stop(may_log_tracebacks=True)


@pytest.mark.parametrize(
    "role, admin, data", [("data", 404, 200), ("control", 200, 404)], ids=["data", "control"]
)
def test_role_serves_its_own_plane_only(
    start_gateway: StartGateway, upstream: StubUpstream, role: str, admin: int, data: int
) -> None:
    running = start_gateway(small_configuration(upstream.url), arguments=["--role", role])
    assert httpx.get(f"{running.url}/admin/login/", trust_env=False).status_code == admin
    assert running.request("GET", "/open/x", host="localhost").status == data
    assert httpx.get(f"{running.url}/healthz", trust_env=False).json()["status"] == "healthy"
    running.stop()


@pytest.mark.parametrize("kind", ["trusted", "other-name", "expired", "self-made"])
def test_upstream_over_tls_is_verified(
    start_gateway: StartGateway,
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
    name: str,
    kind: str,
) -> None:
    authority = CertificateAuthority(tmp_path) if kind == "self-made" else certificate_authority
    addresses = ("127.0.0.2",) if kind == "other-name" else ("127.0.0.1",)
    stub = StubUpstream(tls=authority.server_context(addresses, expired=kind == "expired"))
    running = start_gateway(
        small_configuration(stub.url), environment={"SSL_CERT_FILE": str(certificate_authority.path)}
    )
    answer = running.request("GET", f"/open/{name}")
    if kind == "trusted":
        assert answer.json()["target"] == f"/open/{name}"
    else:
        assert (answer.status, answer.error_code) == (502, "upstream_unreachable")
        assert stub.requests == []
    running.stop()
    stub.stop()


def test_killed_gateway_starts_again_with_everything_it_had(
    start_gateway: StartGateway, upstream: StubUpstream
) -> None:
    running = start_gateway(small_configuration(upstream.url))
    running.send_signal(signal.SIGKILL)
    running.server.process.wait(10)
    # On the same port: its workers must not live on, or they would hold it.
    running.start(running.port)
    wait_until(lambda: len(processes_of(running)) == 3, "the old processes are gone, the new ones there")
    assert running.exchange(request_bytes("/private/x", KEY)).status == 200
    running.stop()


def test_request_that_never_ends_is_cut_off_when_the_drain_is_over(
    start_gateway: StartGateway, upstream: StubUpstream, name: str
) -> None:
    running = start_gateway(small_configuration(upstream.url), environment={"GATEWAY_DRAIN_SECONDS": "1"})
    upstream.script(f"/open/{name}", [read_body(), wait_for_hang_up()])
    with running.connect() as client:
        client.send(request_bytes(f"/open/{name}"))
        upstream.wait_for_request(f"/open/{name}")
        running.send_signal(signal.SIGTERM)
        started = time.monotonic()
        running.server.process.wait(20)
        assert time.monotonic() - started < 15
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)
    running.release()


def processes_of(gateway: GatewayProcess) -> list[Process]:
    """Every process that works on this gateway's data: the parent, its worker, the audit shipper."""
    found = with_variable("GATEWAY_DATA_DIR", str(gateway.data_dir))
    return [process for process in found if "control_loop" not in process.command]
