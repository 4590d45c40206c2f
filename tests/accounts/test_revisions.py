"""Every change of configuration has its number, in the transaction that makes it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from accounts import revisions
from accounts.keys import issue_key, revoke_key
from accounts.models import ApiKey, Asset, Change, Grant, Membership, Principal, Role
from accounts.revisions import current_revision, one_revision, record_change


def changes_since(revision: int) -> set[tuple[str, str]]:
    return set(Change.objects.filter(revision__gt=revision).values_list("kind", "object_id"))


def made(*names: str, kind: str = "user") -> list[Principal]:
    return [Principal.objects.create(name=name, kind=kind) for name in names]


def noted(change: Callable[[], Any]) -> tuple[int, set[tuple[str, str]]]:
    """How many revisions a change made, and what they name."""
    before = current_revision()
    change()
    return current_revision() - before, changes_since(before)


def of(row: Any) -> tuple[str, str]:
    return (row._meta.label, str(row.pk))


@pytest.mark.usefixtures("committed_sqlite")
class TestWhatIsNamed:
    """One row per way to change a row."""

    def test_saved_row_is_named_once(self) -> None:
        asset = Asset.objects.create(name="orders")
        asset.description = "x"
        assert noted(asset.save) == (1, {of(asset)})

    def test_key_that_is_issued_revoked_or_deleted_is_named(self) -> None:
        (alice,) = made("alice")
        count, names = noted(lambda: issue_key(alice, "laptop"))
        key = ApiKey.objects.get()
        assert (count, names) == (1, {of(key)})
        assert noted(lambda: revoke_key(key)) == (1, {of(key)})
        name = of(key)
        assert noted(key.delete) == (1, {name})

    def test_last_use_is_no_change(self) -> None:
        (alice,) = made("alice")
        key = issue_key(alice, "laptop").key
        assert noted(lambda: key.save(update_fields=["last_used_at"])) == (0, set())

    def test_grant_is_its_principals_change(self) -> None:
        (alice,) = made("alice")
        asset = Asset.objects.create(name="orders")
        fields = {"principal": alice, "asset": asset, "actions": ["read"]}
        assert noted(lambda: Grant.objects.create(**fields)) == (1, {of(alice)})
        assert noted(Grant.objects.get().delete) == (1, {of(alice)})

    def test_moved_grant_changes_both_principals(self) -> None:
        alice, bob = made("alice", "bob")
        asset = Asset.objects.create(name="orders")
        Grant.objects.create(principal=alice, asset=asset, actions=["read"])
        grant = Grant.objects.get()
        grant.principal = bob
        assert noted(grant.save)[1] == {of(alice), of(bob)}

    def test_moved_membership_changes_both_members(self) -> None:
        alice, bob = made("alice", "bob")
        (lab,) = made("lab", kind="group")
        Membership.objects.create(group=lab, member=alice)
        membership = Membership.objects.get()
        membership.member = bob
        assert noted(membership.save)[1] == {of(alice), of(bob)}

    def test_roles_are_linked_from_either_side(self) -> None:
        alice, bob = made("alice", "bob")
        role = Role.objects.create(name="r", permissions=[])
        assert of(alice) in noted(lambda: alice.roles.set([role]))[1]
        assert of(bob) in noted(lambda: role.principals.add(bob))[1]
        assert of(bob) in noted(lambda: role.principals.remove(bob))[1]
        assert of(alice) in noted(lambda: alice.roles.clear())[1]

    def test_clearing_from_the_far_side_names_whoever_had_the_role(self) -> None:
        alice, bob = made("alice", "bob")
        role = Role.objects.create(name="r", permissions=[])
        role.principals.set([alice, bob])
        assert {of(alice), of(bob)} <= noted(role.principals.clear)[1]

    def test_deleted_principal_takes_its_keys_grants_and_memberships_along(self) -> None:
        alice, bob = made("alice", "bob")
        (lab,) = made("lab", kind="group")
        asset = Asset.objects.create(name="orders")
        key = issue_key(alice, "laptop").key
        Membership.objects.create(group=lab, member=bob)
        Grant.objects.create(principal=alice, asset=asset, actions=["read"])
        names = {of(alice), of(key)}
        assert names <= noted(alice.delete)[1]
        names = {of(lab), of(bob)}
        assert names <= noted(lab.delete)[1]

    def test_deleted_asset_is_a_change_of_whoever_had_a_grant_on_it(self) -> None:
        (alice,) = made("alice")
        asset = Asset.objects.create(name="orders")
        Grant.objects.create(principal=alice, asset=asset, actions=["read"])
        assert of(alice) in noted(asset.delete)[1]

    def test_one_revision_gathers_everything(self) -> None:
        def change() -> None:
            with one_revision(), one_revision():
                alice, bob = made("alice", "bob")
                alice.display_name = "A"
                alice.save()
                bob.delete()

        count, names = noted(change)
        assert (count, len(names)) == (1, 2)

    def test_empty_revision_is_none(self) -> None:
        def change() -> None:
            with one_revision():
                pass

        assert noted(change) == (0, set())

    @pytest.mark.parametrize("gather", [one_revision, transaction.atomic])
    def test_rollback_leaves_nothing_and_tells_nobody(
        self, gather: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heard: list[int] = []
        monkeypatch.setattr(revisions, "_listeners", [heard.append])

        def change() -> None:
            with pytest.raises(ZeroDivisionError), gather():  # noqa: PT012
                made("alice")
                raise ZeroDivisionError

        assert noted(change) == (0, set())
        assert heard == []
        assert not Principal.objects.filter(name="alice").exists()
        # And the next change is gathered by nobody who has gone.
        assert noted(lambda: made("bob"))[0] == 1

    def test_listeners_hear_after_the_commit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[int, bool]] = []
        monkeypatch.setattr(
            revisions, "_listeners", [lambda number: seen.append((number, connection.in_atomic_block))]
        )
        with transaction.atomic():
            made("alice")
            assert seen == []
        assert seen == [(current_revision(), False)]

    def test_old_changes_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(revisions, "KEPT_REVISIONS", 10)
        revisions.Revision.objects.update_or_create(pk=1, defaults={"number": 995})
        for number in range(20):
            record_change("test.Thing", number)
        kept = set(Change.objects.values_list("revision", flat=True))
        assert current_revision() == 1015
        assert min(kept) >= 990
        assert 1015 in kept


def test_order_of_revisions_is_the_order_of_commits(committed_database: str) -> None:
    """Whoever has seen revision N has seen every change up to N, however many write at once."""
    del committed_database
    made("seed")
    base = current_revision()
    writers, each = 4, 8
    problems: list[str] = []
    done = threading.Event()

    def write(writer: int) -> None:
        try:
            for number in range(each):
                with transaction.atomic():
                    record_change("test.Thing", f"{writer}-{number}")
                    record_change("test.Thing", f"{writer}-{number}-more")
        except Exception as error:
            problems.append(repr(error))
        finally:
            connection.close()

    def watch() -> None:
        try:
            while not done.is_set():
                with transaction.atomic():
                    if connection.vendor == "postgresql":
                        connection.cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    number = current_revision()
                    seen = set(Change.objects.filter(revision__gt=base).values_list("revision", flat=True))
                if seen != set(range(base + 1, number + 1)):
                    problems.append(f"at {number}: {sorted(seen)}")
        except Exception as error:
            problems.append(repr(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    done.set()
    watcher.join(60)
    assert problems == []
    assert current_revision() == base + writers * each * 2
    assert Change.objects.filter(revision__gt=base).count() == writers * each * 2
