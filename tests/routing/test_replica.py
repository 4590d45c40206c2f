"""A data plane whose database is away: at the start, on the way, and back again."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError

from accounts.keys import issue_key, revoke_key
from accounts.models import Asset, Principal
from auditlog import recorder as audit
from routing import configuration_source
from routing.models import Route, Service, Worker
from routing.replica import Replica
from routing.runtime import Runtime
from routing.worker_report import WorkerReport
from tests.routing.event_loop import run, until
from tests.routing.replicas import identity_behind, in_thread, replica_of_the_database
from tests.services.postgresql import PostgresqlServer

pytestmark = pytest.mark.usefixtures("committed_sqlite")


class Outage:
    """Every read fails while it lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def begin(self) -> None:
        def fail(*_: Any) -> Any:
            raise DatabaseError("the database is away")

        for name in ("read_revision", "read_difference", "read_everything", "find_credential"):
            self._patch.setattr(configuration_source, name, fail)

    def end(self) -> None:
        self._patch.undo()


@pytest.fixture
def outage() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield Outage(patch)


def a_route(name: str = "r") -> None:
    service, _ = Service.objects.get_or_create(name="s")
    Route.objects.create(name=name, service=service, path=f"/{name}", access="public")


def names(runtime: Runtime) -> list[str]:
    return [route.name for route in runtime.snapshot.routes] if runtime.snapshot else []


@asynccontextmanager
async def following(
    directory: Path, report: type[WorkerReport] | None = None
) -> AsyncIterator[tuple[Replica, Runtime]]:
    options = {} if report is None else {"report": report}
    async with replica_of_the_database(directory, **options) as (replica, runtime):
        await replica.start("")
        try:
            yield replica, runtime
        finally:
            await replica.stop()


def test_commit_in_the_process_is_served_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with following(tmp_path) as (_, runtime):
            assert names(runtime) == []
            await in_thread(a_route)
            # Well before the poll would have come round.
            await until(lambda: names(runtime) == ["r"], "the route is served", timeout_seconds=3)

    run(scenario())


def test_commit_of_another_process_is_served_by_the_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.revisions._announce", lambda number: None)
    monkeypatch.setattr("routing.replica.POLL_SECONDS", 0.05)

    async def scenario() -> None:
        async with following(tmp_path) as (_, runtime):
            await in_thread(a_route)
            await until(lambda: names(runtime) == ["r"], "the route is served")

    run(scenario())


def test_revoked_key_is_refused_once_the_replica_has_caught_up(tmp_path: Path) -> None:
    def prepare() -> Any:
        return issue_key(Principal.objects.create(name="alice"), "laptop")

    async def scenario() -> None:
        async with following(tmp_path) as (_, runtime):
            issued = await in_thread(prepare)
            digest = runtime.directory.digest(issued.secret.encode())
            await until(lambda: runtime.directory.credential(digest), "the key is known")
            await in_thread(revoke_key, issued.key)
            await until(lambda: runtime.directory.credential(digest).revoked_at < 1e12, "it is revoked")

    run(scenario())


def test_start_without_the_database_serves_the_copy_on_disk_and_recovers(
    tmp_path: Path, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.replica.POLL_SECONDS", 0.05)

    async def scenario() -> None:
        await in_thread(a_route, "kept")
        async with following(tmp_path):
            pass
        await in_thread(a_route, "later")
        outage.begin()
        async with following(tmp_path) as (replica, runtime):
            assert names(runtime) == ["kept"]
            outage.end()
            await until(lambda: names(runtime) == ["kept", "later"], "the database's rows are served")
            assert replica.revision > 0

    run(scenario())


def test_start_without_database_or_copy_serves_nothing_and_recovers(
    tmp_path: Path, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.replica.POLL_SECONDS", 0.05)

    async def scenario() -> None:
        await in_thread(a_route)
        outage.begin()
        async with following(tmp_path) as (_, runtime):
            assert runtime.snapshot is None
            outage.end()
            await until(lambda: names(runtime) == ["r"], "the route is served")

    run(scenario())


def test_outage_on_the_way_changes_nothing_that_is_served(
    tmp_path: Path, outage: Outage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("routing.replica.POLL_SECONDS", 0.02)

    async def scenario() -> None:
        await in_thread(a_route)
        async with following(tmp_path) as (_, runtime):
            served = runtime.snapshot
            outage.begin()
            await until(lambda: "database unreachable" in caplog.text, "the replica notices")
            assert runtime.snapshot is served
            await in_thread(a_route, "meanwhile")
            outage.end()
            await until(lambda: names(runtime) == ["r", "meanwhile"], "it catches up")

    with caplog.at_level(logging.WARNING, "gatehouse.replica"):
        run(scenario())


def test_revision_that_cannot_be_served_leaves_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("routing.replica.POLL_SECONDS", 0.02)

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    async def scenario() -> None:
        await in_thread(a_route)
        async with following(tmp_path) as (_, runtime):
            with monkeypatch.context() as patch:
                patch.setattr("routing.replica.compile_snapshot", fail)
                await in_thread(a_route, "bad")
                await until(lambda: "revision can't be loaded" in caplog.text, "the fault is logged")
                assert names(runtime) == ["r"]
            await until(lambda: names(runtime) == ["r", "bad"], "it goes on")

    run(scenario())


def test_disk_that_is_full_stops_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "a file, no directory"
    blocked.write_text("")

    async def scenario() -> None:
        async with following(blocked) as (_, runtime):
            await in_thread(a_route)
            await until(lambda: names(runtime) == ["r"], "the route is served")

    run(scenario())


def test_stop_without_the_database_ends_in_good_order(tmp_path: Path) -> None:
    class Unwritable(WorkerReport):
        def write(self, revision: int, problem: str) -> None:
            pass

        def withdraw(self) -> None:
            raise DatabaseError("the database is away")

    async def scenario() -> None:
        async with following(tmp_path, Unwritable):
            pass

    run(scenario())


def test_worker_row_says_what_is_served_and_goes_with_its_process(tmp_path: Path) -> None:
    def row() -> Any:
        return Worker.objects.values_list("revision", "problem").first()

    async def scenario() -> None:
        await in_thread(a_route)
        async with replica_of_the_database(tmp_path, report=WorkerReport) as (replica, runtime):
            await replica.catch_up()
            assert runtime.snapshot is not None
            assert await in_thread(row) == (runtime.snapshot.revision, "")
            await in_thread(lambda: Service.objects.filter(name="s").update(retries=2))
            await in_thread(lambda: Route.objects.filter(name="r").update(hosts=5))
            await in_thread(lambda: Asset.objects.create(name="something-new"))
            await replica.catch_up()
            revision, problem = await in_thread(row)
            assert revision == runtime.snapshot.revision
            assert "route 'r'" in problem
            await replica.stop()
            assert await in_thread(row) is None

    run(scenario())


def test_worker_row_says_how_many_audit_records_were_stored_and_dropped(tmp_path: Path) -> None:
    def row() -> Any:
        return Worker.objects.values_list("audit_recorded", "audit_dropped").get()

    async def scenario() -> None:
        before = audit.figures()
        async with replica_of_the_database(tmp_path, report=WorkerReport) as (replica, _):
            audit.record("sign_of_life", {})
            await replica.catch_up()
            assert await in_thread(row) == audit.figures() == (before[0] + 1, before[1])
            await replica.stop()

    run(scenario())


def test_postgresql_that_was_restarted_is_used_again(
    tmp_path: Path, own_postgresql: PostgresqlServer
) -> None:
    """By the replica's thread and by those that look credentials up, without a connection left half dead."""
    from tests.services.committed_database import migrated, served_by

    url = own_postgresql.new_database()
    migrated(url)

    def key_of_alice() -> Any:
        return issue_key(Principal.objects.create(name="alice"), "laptop")

    async def scenario() -> None:
        issued = await in_thread(key_of_alice)
        async with replica_of_the_database(tmp_path, limit=0) as (replica, runtime):
            await replica.catch_up()
            digest = runtime.directory.digest(issued.secret.encode())
            for _ in range(3):
                assert await identity_after_look_up(runtime, digest) == "alice"
            await asyncio.to_thread(own_postgresql.stop)
            with pytest.raises(DatabaseError):
                await replica.catch_up()
            for _ in range(3):
                with pytest.raises(Exception, match="Error"):
                    await runtime.load_credential(digest)
            await asyncio.to_thread(own_postgresql.start)
            await replica.catch_up()
            for _ in range(3):
                assert await identity_after_look_up(runtime, digest) == "alice"

    async def identity_after_look_up(runtime: Runtime, digest: bytes) -> str | None:
        runtime.directory.drop_credential(1)
        await runtime.load_credential(digest)
        identity = await identity_behind(runtime, digest)
        return identity.name if identity else None

    with served_by(url):
        run(scenario(), timeout_seconds=60)
