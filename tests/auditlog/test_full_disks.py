"""A spool that can't be written to costs records, never requests; and every record it costs is counted."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditlog.sinks.file import FileSink
from auditlog.sinks.sink import SinkUnavailable
from tests.auditlog.frames import make_frames
from tests.auditlog.http_load import HttpLoad, load_configuration
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.stub_upstream import StubUpstream
from tests.services.deadline import wait_until
from tests.services.postgresql import PostgresqlServer
from tests.services.root_rights import start_without_root_rights
from tests.services.server_process import ServerProcess
from tests.services.small_disk import MakeDisk

Start = Callable[..., GatewayProcess]
ATTEMPTS = 20


@pytest.fixture
def start(tmp_path: Path, postgresql_server: PostgresqlServer) -> Iterator[Start]:
    """start(spool, role, **settings): a gateway with that spool, ended with the test."""
    upstream = StubUpstream()
    started: list[GatewayProcess] = []

    def make(spool: Path, role: str, **settings: str) -> GatewayProcess:
        environment = {
            "GATEWAY_DATABASE_URL": postgresql_server.new_database(),
            "GATEWAY_AUDIT_SPOOL_DIR": str(spool),
            "GATEWAY_AUDIT_SEGMENT_BYTES": str(128 * 1024),
        } | settings
        configuration, arguments = load_configuration(upstream.url), ["--role", role]
        gateway = start_without_root_rights(
            lambda: GatewayProcess(tmp_path / "gateway", configuration, environment, arguments)
        )
        started.append(gateway)
        return gateway

    yield make
    for gateway in started:
        gateway.release()
    upstream.stop()


def answers(gateway: GatewayProcess) -> list[int]:
    return [gateway.request("GET", "/open/x").status for _ in range(ATTEMPTS)]


def dropped(gateway: GatewayProcess) -> int:
    """What the log itself says of dropped records."""
    code = "import json\nfrom auditlog.models import AuditRecord\n[json.loads(body)['dropped'] for body in "
    code += "AuditRecord.objects.filter(event='records_dropped').values_list('body', flat=True)]"
    return sum(gateway.control.execute(code))


@pytest.fixture
def locked_spool(tmp_path: Path) -> Iterator[Path]:
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o500)
    yield spool
    spool.chmod(0o700)


def test_read_only_spool_drops_counts_and_goes_on_when_it_is_mended(start: Start, locked_spool: Path) -> None:
    gateway = start(locked_spool, "all")
    assert answers(gateway) == [200] * ATTEMPTS
    assert list(locked_spool.iterdir()) == []
    assert "audit records are being dropped" in gateway.log()
    wait_until(lambda: "nothing is shipped" in gateway.log(), "the shipper says why it waits", 30)
    locked_spool.chmod(0o700)
    asked = ATTEMPTS

    def stored_again() -> int:
        nonlocal asked
        asked += len(answers(gateway))
        return len(gateway.audit_records(path="/open/x"))

    wait_until(stored_again, "records are stored again", 30)
    # Every answer is stored or counted as dropped.
    accounted = lambda: len(gateway.audit_records(path="/open/x")) + dropped(gateway)  # noqa: E731
    wait_until(lambda: accounted() >= asked, "each answer is accounted for", 30)
    assert accounted() == asked
    assert ATTEMPTS <= dropped(gateway) < asked


def test_read_only_spool_refuses_what_must_be_recorded(start: Start, locked_spool: Path) -> None:
    gateway = start(locked_spool, "data", GATEWAY_AUDIT_REQUIRED="true")
    refused = gateway.request("GET", "/open/x")
    assert (refused.status, refused.error_code) == (503, "audit_unavailable")
    locked_spool.chmod(0o700)
    wait_until(lambda: gateway.request("GET", "/open/x").status == 200, "requests are let through again", 30)


@pytest.mark.timeout(240)
def test_full_disk_drops_counts_and_drains(start: Start, make_small_disk: MakeDisk, tmp_path: Path) -> None:
    spool = make_small_disk(600)
    gateway = start(spool, "data")
    load = HttpLoad(gateway)
    try:
        wait_until(lambda: "audit records are being dropped" in gateway.log(), "the disk is full", 90)
        wait_until(load.grows_by(100), "requests go on being answered", 60)
        command = [sys.executable, "manage.py", "audit", "ship"]
        shipper = ServerProcess(command, tmp_path / "shipper.log", gateway.environment)
        wait_until(lambda: dropped(gateway), "room is found and the loss is recorded", 60)
        wait_until(load.grows_by(100), "load after it", 60)
    finally:
        load.stop()
    assert (load.wrong, load.broken) == ([], [])

    def accounted() -> int:
        stored = {record["request_id"] for record in gateway.audit_records()}
        return len(stored & load.answered.keys()) + dropped(gateway)

    wait_until(lambda: accounted() >= len(load.answered), "each answer is accounted for", 60)
    assert accounted() == len(load.answered)
    assert dropped(gateway) < len(load.answered)
    shipper.stop()


def fill(sink: FileSink) -> int:
    """Deliver until the sink takes no more; returns how many records it has taken."""
    stored = 0
    while True:
        try:
            sink.deliver(make_frames(20, path="/" + "x" * 500))
        except SinkUnavailable:
            return stored
        stored += 20


def test_file_sink_on_a_full_disk_waits_and_leaves_whole_lines(make_small_disk: MakeDisk) -> None:
    disk = make_small_disk(256)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(100_000))
    sink = FileSink(disk / "audit.jsonl", 0, 2, fsync=True)
    stored = fill(sink)
    lines = (disk / "audit.jsonl").read_bytes().splitlines()
    assert stored == len(lines)
    assert all(line.endswith(b'"}') for line in lines)
    ballast.unlink()
    sink.deliver(make_frames(20, path="/" + "x" * 500))
    assert len((disk / "audit.jsonl").read_bytes().splitlines()) == stored + 20
    sink.close()
