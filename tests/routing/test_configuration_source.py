"""Whatever changes: following the differences leads to the same world as reading everything."""

from pathlib import Path

import pytest
from django.db import connection

from accounts.models import Asset, Change, Principal
from accounts.revisions import current_revision
from routing import configuration_source
from tests.routing.event_loop import run
from tests.routing.random_changes import DIGESTS, RandomChanges
from tests.routing.replicas import in_thread, replica_of_the_database, world_of

ROUNDS = 6


@pytest.mark.parametrize(
    "committed_database, seed, limit",
    [("sqlite", 1, 1000), ("sqlite", 1, 3), ("sqlite", 2, 3), ("postgresql", 1, 3)],
    indirect=["committed_database"],
)
def test_differences_lead_to_the_same_world_as_reading_everything(
    committed_database: str, tmp_path: Path, seed: int, limit: int
) -> None:
    changes = RandomChanges(seed)
    found: list[int] = []

    async def scenario() -> None:
        async with replica_of_the_database(tmp_path / "a", limit) as (replica, runtime):
            await in_thread(changes.prepare)
            await replica.catch_up()
            for number in range(ROUNDS):
                # Often one change alone: then nothing else can hide what it should have brought.
                await in_thread(changes.several, 1 if number % 2 else 5)
                before = runtime.directory
                await replica.catch_up()
                assert runtime.directory is before, "everything was read"
                await compare(tmp_path / f"b{number}", runtime)
            assert runtime.directory.sizes["credentials"] <= limit

    async def compare(directory: Path, runtime: object) -> None:
        async with replica_of_the_database(directory) as (fresh, whole):
            await fresh.catch_up()
            expected = await world_of(whole, DIGESTS)
            found.append(sum(identity is not None for identity in expected["identities"].values()))
            world = await world_of(runtime, DIGESTS)  # type: ignore[arg-type]
            # Key by key first: a difference of one is readable.
            for digest in DIGESTS:
                assert world["identities"][digest] == expected["identities"][digest]
            assert world == expected

    run(scenario(), timeout_seconds=60)
    assert sum(found) > ROUNDS
    del committed_database


def test_copy_on_disk_is_the_same_world_after_many_differences(committed_sqlite: str, tmp_path: Path) -> None:
    changes = RandomChanges(3)

    async def scenario() -> None:
        async with replica_of_the_database(tmp_path / "a") as (replica, runtime):
            await in_thread(changes.prepare)
            for _ in range(8):
                await in_thread(changes.several, 6)
                await replica.catch_up()
            expected = await world_of(runtime, DIGESTS)
            async with replica_of_the_database(tmp_path / "a") as (other, revived):
                await other._load_from_disk()
                assert await world_of(revived, DIGESTS) == expected

    run(scenario(), timeout_seconds=60)
    del committed_sqlite


@pytest.mark.usefixtures("committed_database")
class TestReadDifference:
    def test_nothing_new_is_an_empty_difference(self) -> None:
        difference = configuration_source.read_difference(current_revision())
        assert difference == configuration_source.Difference(current_revision())

    def test_too_many_changes_mean_reading_everything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(configuration_source, "INCREMENTAL_LIMIT", 3)
        since = current_revision()
        for number in range(3):
            Asset.objects.create(name=f"a{number}")
        assert configuration_source.read_difference(since) is not None
        Asset.objects.create(name="one-more")
        assert configuration_source.read_difference(since) is None

    def test_forgotten_changes_mean_reading_everything(self) -> None:
        since = current_revision()
        for number in range(3):
            Asset.objects.create(name=f"a{number}")
        Change.objects.filter(revision=since + 1).delete()
        assert configuration_source.read_difference(since) is None
        assert configuration_source.read_difference(since + 1) is not None

    def test_database_set_back_means_reading_everything(self) -> None:
        assert configuration_source.read_difference(current_revision() + 5) is None

    def test_read_sees_one_moment(self) -> None:
        Principal.objects.create(name="alice")
        with configuration_source.consistent_read():
            before = current_revision()
            names = set(Principal.objects.values_list("name", flat=True))

            import threading

            def write() -> None:
                try:
                    Principal.objects.create(name="bob")
                finally:
                    connection.close()

            thread = threading.Thread(target=write)
            thread.start()
            thread.join(20)
            assert current_revision() == before
            assert set(Principal.objects.values_list("name", flat=True)) == names
        assert current_revision() == before + 1
        # The connection is usable, and out of any transaction.
        assert not connection.in_atomic_block
        Principal.objects.create(name="carol")

    def test_unknown_digest_finds_nothing(self) -> None:
        assert configuration_source.find_credential(b"x" * 32) is None
