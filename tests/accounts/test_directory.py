"""The bounded index of credentials, principals and grants."""

import random
from array import array
from typing import Any

import pytest

from accounts.directory import Directory, fingerprint_of
from accounts.identity import CredentialNotLoaded, Identity
from tests.accounts.directory_rows import digest_of, directory, grant, group, key, principal, role


def grants_of(identity: Identity | None) -> set[tuple[int, str]]:
    assert identity is not None
    return {(entry.id, entry.holder) for entries in identity.grants.values() for entry in entries}


def test_key_leads_to_its_principal_and_no_other() -> None:
    index = directory(principal(1, "alice"), principal(2, "bob"), key(1, 1), key(2, 2))
    names = []
    for key_id in (1, 2):
        identity = index.identity_by_digest(digest_of(key_id))
        assert identity is not None
        assert identity.credential is not None
        names.append((identity.name, identity.credential.id, identity.authenticator))
    assert names == [("alice", 1, "api_key"), ("bob", 2, "api_key")]
    assert index.identity_by_digest(digest_of(3)) is None


def test_roles_and_grants_come_through_groups_within_groups() -> None:
    index = directory(
        role(1, "reader", "orders:read"),
        role(2, "writer", "orders:write"),
        principal(1, "alice", role_ids=[1], group_ids=[10], grants=[grant(grant_id=1)]),
        group(10, group_ids=[11], grants=[grant(grant_id=2)]),
        group(11, role_ids=[2], grants=[grant(grant_id=3)]),
        group(12, role_ids=[2], grants=[grant(grant_id=4)]),
        key(1),
    )
    identity = index.identity_by_digest(digest_of(1))
    assert identity is not None
    assert identity.roles == ("reader", "writer")
    assert identity.permissions == {"orders:read", "orders:write"}
    assert grants_of(identity) == {(1, "alice"), (2, "group-10"), (3, "group-11")}


def test_disabled_group_gives_nothing_and_cuts_off_those_above() -> None:
    index = directory(
        principal(1, group_ids=[10]),
        group(10, enabled=False, group_ids=[11], grants=[grant(grant_id=1)]),
        group(11, grants=[grant(grant_id=2)]),
        key(1),
    )
    assert grants_of(index.identity_by_digest(digest_of(1))) == set()


def test_circle_of_groups_and_a_diamond_end() -> None:
    index = directory(
        principal(1, group_ids=[10, 11]),
        group(10, group_ids=[12], grants=[grant(grant_id=1)]),
        group(11, group_ids=[12]),
        group(12, group_ids=[10, 12], grants=[grant(grant_id=2)]),
        key(1),
    )
    identity = index.identity_by_digest(digest_of(1))
    assert grants_of(identity) == {(1, "group-10"), (2, "group-12")}
    assert identity is not None
    assert len(identity.grants[7]) == 2


CHANGES: dict[str, tuple[Any, Any]] = {
    "grant-gone": (
        lambda index: index.put_principal(principal(1, group_ids=[10])),
        ({(2, "group-10")}, ("reader",)),
    ),
    "group-grant-gone": (
        lambda index: index.put_principal(group(10, role_ids=[1])),
        ({(1, "principal-1")}, ("reader",)),
    ),
    "group-gone": (lambda index: index.drop_principal(10), ({(1, "principal-1")}, ())),
    "group-disabled": (
        lambda index: index.put_principal(group(10, enabled=False, grants=[grant(grant_id=2)])),
        ({(1, "principal-1")}, ()),
    ),
    "role-renamed": (
        lambda index: index.put_roles([role(1, "auditor", "orders:read")]),
        ({(1, "principal-1"), (2, "group-10")}, ("auditor",)),
    ),
    "role-gone": (lambda index: index.put_roles([]), ({(1, "principal-1"), (2, "group-10")}, ())),
}


@pytest.mark.parametrize("change, seen", CHANGES.values(), ids=CHANGES.keys())
def test_change_is_seen_by_the_next_request(change: Any, seen: Any) -> None:
    index = directory(
        role(1, "reader", "orders:read"),
        principal(1, group_ids=[10], grants=[grant(grant_id=1)]),
        group(10, role_ids=[1], grants=[grant(grant_id=2)]),
        key(1),
    )
    before = index.identity_by_digest(digest_of(1))
    assert before is index.identity_by_digest(digest_of(1))
    change(index)
    after = index.identity_by_digest(digest_of(1))
    assert after is not None
    assert (grants_of(after), after.roles) == seen


def test_key_that_is_gone_changed_or_without_its_principal_is_seen_at_once() -> None:
    index = directory(principal(1), key(1), key(2), key(3))
    for key_id in (1, 2, 3):
        assert index.identity_by_digest(digest_of(key_id)) is not None
    index.drop_credential(1)
    assert index.identity_by_digest(digest_of(1)) is None
    index.put_credential(key(2, revoked_at=5.0))
    identity = index.identity_by_digest(digest_of(2))
    assert identity is not None
    assert identity.credential is not None
    assert identity.credential.revoked_at == 5.0
    index.put_credential(key(3, digest=digest_of(33)))
    assert index.identity_by_digest(digest_of(3)) is None
    assert index.identity_by_digest(digest_of(33)) is not None
    index.drop_principal(1)
    assert index.identity_by_digest(digest_of(33)) is None


@pytest.mark.parametrize("order", ["new-first", "old-first"])
def test_key_imported_anew_under_another_id_works(order: str) -> None:
    """One revision may delete a key and create one of the same secret."""
    index = directory(principal(1, "old"), principal(2, "new"), key(1, 1))
    if order == "new-first":
        index.put_credential(key(2, 2, digest=digest_of(1)))
        index.drop_credential(1)
    else:
        index.drop_credential(1)
        index.put_credential(key(2, 2, digest=digest_of(1)))
    identity = index.identity_by_digest(digest_of(1))
    assert identity is not None
    assert identity.name == "new"
    index.drop_credential(2)
    assert index.identity_by_digest(digest_of(1)) is None


def test_two_principals_may_swap_their_names() -> None:
    index = directory(principal(1, "a"), principal(2, "b"))
    index.put_principal(principal(1, "b"))
    index.put_principal(principal(2, "a"))
    named = {name: index.identity_by_name(name) for name in ("a", "b")}
    assert {name: each and each.principal_id for name, each in named.items()} == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    "fault", [{"networks": ["10.0.0.1/8"]}, {"networks": None}, {"networks": ["x"]}, {"scopes": [5]}], ids=str
)
def test_unreadable_key_is_refused_and_spoils_no_other(fault: Any, caplog: pytest.LogCaptureFixture) -> None:
    index = directory(principal(1), key(1), key(2))
    index.put_credential(key(1, **fault))
    assert index.identity_by_digest(digest_of(1)) is None
    assert index.identity_by_digest(digest_of(2)) is not None
    assert "public-1" in caplog.text


# --- bounded --------------------------------------------------------------------------------


def known(index: Directory, key_id: int) -> str:
    try:
        return "held" if index.identity_by_digest(digest_of(key_id)) is not None else "unknown"
    except CredentialNotLoaded:
        return "in the database"


def test_oldest_makes_place_and_is_remembered_by_its_fingerprint() -> None:
    index = directory(*(principal(n) for n in range(5)), *(key(n, n) for n in range(5)), limit=3)
    assert [known(index, n) for n in range(6)] == [
        "in the database",
        "in the database",
        "held",
        "held",
        "held",
        "unknown",
    ]
    index.put_principal(principal(0))
    index.put_credential(key(0, 0))
    assert [known(index, n) for n in range(5)] == [
        "held",
        "in the database",
        "in the database",
        "held",
        "held",
    ]


def test_key_beyond_the_index_is_told_from_a_guess() -> None:
    index = directory(limit=3)
    index.put_absent(array("Q", sorted(fingerprint_of(digest_of(n)) for n in range(100))))
    assert all(known(index, n) == "in the database" for n in range(100))
    assert all(known(index, n) == "unknown" for n in range(100, 1000))


def test_memory_stays_bounded_while_keys_come_and_go() -> None:
    keys = 400
    index = directory(group(9000, grants=[grant()]), limit=10)
    index.put_absent(array("Q", sorted(fingerprint_of(digest_of(n)) for n in range(keys))))
    order = list(range(keys)) * 3
    random.Random(1).shuffle(order)
    for number in order:
        # A look-up brings the key with its principal and the groups above it.
        index.put_principal(principal(number, group_ids=[9000]))
        index.put_principal(group(9000, grants=[grant()]))
        index.put_credential(key(number, number))
        assert known(index, number) == "held"
        sizes = index.sizes
        assert sizes["credentials"] <= 10
        assert sizes["principals"] <= 11
    # Each is in the array of fingerprints already: none is remembered twice.
    assert index.sizes["absent"] == keys


def test_principal_stays_while_one_of_its_keys_does() -> None:
    index = directory(principal(1), key(1, 1), key(2, 1), principal(2), key(3, 2), limit=2)
    assert known(index, 1) == "in the database"
    assert known(index, 2) == "held"
    # Its next key pushes its last one out.
    index.put_credential(key(4, 1))
    index.put_credential(key(5, 1))
    assert [known(index, n) for n in (4, 5)] == ["held", "held"]
    assert index.sizes["principals"] == 1


def test_unchanged_principal_costs_no_cached_identity() -> None:
    index = directory(principal(1), key(1))
    identity = index.identity_by_digest(digest_of(1))
    index.put_principal(principal(1))
    assert index.identity_by_digest(digest_of(1)) is identity


def test_cache_of_identities_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.directory.IDENTITY_CACHE_LIMIT", 3)
    index = directory(principal(1), *(key(n) for n in range(10)))
    for number in range(10):
        assert known(index, number) == "held"
        assert len(index._identities) <= 3


def test_key_of_the_environment_outlives_a_reload() -> None:
    index = directory(principal(1), key(1))
    boot = Identity(0, "bootstrap", "service_account")
    index.put_static(digest_of(99), boot)
    fresh = index.emptied()
    assert fresh.identity_by_digest(digest_of(99)) is boot
    assert fresh.identity_by_digest(digest_of(1)) is None


def test_roles_are_named_least_power_first() -> None:
    index = directory(
        role(1, "admin", "*:*"),
        role(2, "operator", "orders:*", "x:read"),
        role(3, "reader", "orders:read"),
        role(4, "clerk", "orders:read", "orders:write"),
    )
    assert index.roles_with("orders:read", "orders:*", "*:read", "*:*") == [
        "reader",
        "clerk",
        "operator",
        "admin",
    ]
    assert index.roles_with("nothing:read") == []
