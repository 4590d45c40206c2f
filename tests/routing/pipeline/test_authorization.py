"""Who may do what: roles, permissions, scopes and grants, each alone and against each other."""

from typing import Any

import pytest

from routing.pipeline.authorization import action_of
from tests.accounts.directory_rows import directory, grant, group, key, principal, role, secret_of
from tests.routing.pipeline.world import NOW, World, scope, verdict
from tests.routing.rows import route_row, snapshot_of

ORDERS = {"asset": "orders"}
GRANTED = "allow: grant:1"
NO_GRANT = "403 grant_missing"
ROLES = [
    role(1, "admin", "*:*"),
    role(2, "reader", "orders:read"),
    role(3, "clerk", "orders:*"),
    role(4, "auditor", "*:read"),
    role(5, "outsider", "reports:*"),
    role(6, "empty"),
]


def decided(rows: Any, method: str = "GET", route: Any = ORDERS, now: float = NOW, **fields: Any) -> str:
    """What becomes of a request with key 1, which is principal 1's."""
    world = World(
        snapshot_of(route_row("orders", "/orders", **route)), directory(*ROLES, *rows, key(1, **fields))
    )
    asked = scope(method, "/orders/7", [("x-api-key", secret_of(1))])
    return verdict(world, asked, now=now)


GRANTS: dict[str, Any] = {
    "none": ([principal()], "GET", NO_GRANT),
    "read-for-get": ([principal(grants=[grant(7, "read")])], "GET", GRANTED),
    "read-for-head": ([principal(grants=[grant(7, "read")])], "HEAD", GRANTED),
    "read-for-options": ([principal(grants=[grant(7, "read")])], "OPTIONS", GRANTED),
    "read-is-no-write": ([principal(grants=[grant(7, "read")])], "POST", NO_GRANT),
    "read-is-no-delete": ([principal(grants=[grant(7, "read")])], "DELETE", NO_GRANT),
    "write-for-post": ([principal(grants=[grant(7, "write")])], "POST", GRANTED),
    "write-for-put": ([principal(grants=[grant(7, "write")])], "PUT", GRANTED),
    "write-for-patch": ([principal(grants=[grant(7, "write")])], "PATCH", GRANTED),
    "write-is-no-read": ([principal(grants=[grant(7, "write")])], "GET", NO_GRANT),
    "write-is-no-delete": ([principal(grants=[grant(7, "write")])], "DELETE", NO_GRANT),
    "delete": ([principal(grants=[grant(7, "delete")])], "DELETE", GRANTED),
    "unknown-method-needs-write": ([principal(grants=[grant(7, "read")])], "PURGE", NO_GRANT),
    "unknown-method-with-write": ([principal(grants=[grant(7, "write")])], "PURGE", GRANTED),
    "everything": ([principal(grants=[grant(7, "*")])], "DELETE", GRANTED),
    "no-actions": ([principal(grants=[grant(7)._replace(actions=[])])], "GET", NO_GRANT),
    "other-asset": ([principal(grants=[grant(8, "*")])], "GET", NO_GRANT),
    "asset-0": ([principal(grants=[grant(0, "*")])], "GET", NO_GRANT),
    "of-another-principal": ([principal(), principal(2, grants=[grant(7, "*")])], "GET", NO_GRANT),
    "through-a-group": ([principal(group_ids=[10]), group(10, grants=[grant(7)])], "GET", GRANTED),
    "through-nested-groups": (
        [principal(group_ids=[10]), group(10, group_ids=[11]), group(11, grants=[grant(7)])],
        "GET",
        GRANTED,
    ),
    "of-a-group-below": ([principal(), group(10, group_ids=[1], grants=[grant(7)])], "GET", NO_GRANT),
    "of-a-disabled-group": (
        [principal(group_ids=[10]), group(10, enabled=False, grants=[grant(7)])],
        "GET",
        NO_GRANT,
    ),
    "condition-denies": ([principal(grants=[grant(7, "*", condition="true")])], "GET", NO_GRANT),
    "condition-beside-a-plain-one": (
        [principal(grants=[grant(7, "*", condition="false", grant_id=9), grant(7)])],
        "GET",
        GRANTED,
    ),
    "expired-beside-a-live-one": (
        [principal(grants=[grant(7, expires_at=NOW - 1, grant_id=9), grant(7, expires_at=NOW + 1)])],
        "GET",
        GRANTED,
    ),
    "one-for-each-action": (
        [principal(grants=[grant(7, "read", grant_id=9), grant(7, "write")])],
        "POST",
        GRANTED,
    ),
    "expires-later": ([principal(grants=[grant(7, expires_at=NOW + 0.001)])], "GET", GRANTED),
    "expires-at-this-instant": ([principal(grants=[grant(7, expires_at=NOW)])], "GET", NO_GRANT),
    "expired": ([principal(grants=[grant(7, expires_at=NOW - 1)])], "GET", NO_GRANT),
    "permission": ([principal(role_ids=[2])], "GET", "allow: permission:orders:read"),
    "permission-is-no-write": ([principal(role_ids=[2])], "POST", NO_GRANT),
    "permission-for-every-action": ([principal(role_ids=[3])], "DELETE", "allow: permission:orders:*"),
    "permission-for-every-asset": ([principal(role_ids=[4])], "GET", "allow: permission:*:read"),
    "permission-for-every-asset-to-read-only": ([principal(role_ids=[4])], "POST", NO_GRANT),
    "permission-for-everything": ([principal(role_ids=[1])], "PURGE", "allow: permission:*:*"),
    "permission-elsewhere": ([principal(role_ids=[5])], "GET", NO_GRANT),
    "role-without-permissions": ([principal(role_ids=[6])], "GET", NO_GRANT),
    "role-that-is-gone": ([principal(role_ids=[99])], "GET", NO_GRANT),
    "permission-through-a-group": (
        [principal(group_ids=[10]), group(10, role_ids=[2])],
        "GET",
        "allow: permission:orders:read",
    ),
    "grant-before-permission": ([principal(role_ids=[1], grants=[grant(7)])], "GET", GRANTED),
    "disabled-principal": ([principal(enabled=False, grants=[grant(7)])], "GET", "401 credential_invalid"),
    "principal-gone": ([], "GET", "401 credential_invalid"),
}


@pytest.mark.parametrize("rows, method, expected", GRANTS.values(), ids=GRANTS.keys())
def test_granted_route_needs_a_grant_or_a_permission(rows: Any, method: str, expected: str) -> None:
    assert decided(rows, method) == expected


ROLE_RULES: dict[str, Any] = {
    "has-it": (["reader"], [2], "allow: access:authenticated"),
    "has-one-of-two": (["reader", "clerk"], [3], "allow: access:authenticated"),
    "has-another": (["clerk"], [2], "403 role_missing"),
    "has-none": (["clerk"], [], "403 role_missing"),
    "everything-covers-every-role": (["clerk"], [1], "allow: access:authenticated"),
    "unknown-role-is-had-by-nobody": (["ghost"], [2, 3, 4], "403 role_missing"),
    "none-needed": ([], [], "allow: access:authenticated"),
}


@pytest.mark.parametrize("needed, held, expected", ROLE_RULES.values(), ids=ROLE_RULES.keys())
def test_required_roles_are_any_of(needed: list[str], held: list[int], expected: str) -> None:
    route = {"access": "authenticated", "required_roles": needed}
    assert decided([principal(role_ids=held)], route=route) == expected


def test_role_is_needed_besides_a_grant() -> None:
    route = {**ORDERS, "required_roles": ["reader"]}
    granted = principal(grants=[grant(7)])
    assert decided([granted], route=route) == "403 role_missing"
    assert decided([granted._replace(role_ids=[2])], route=route) == GRANTED
    # The role opens nothing by itself.
    assert decided([principal(role_ids=[5])], route={**ORDERS, "required_roles": ["outsider"]}) == NO_GRANT


SCOPES: dict[str, Any] = {
    "none-is-everything": ([], "DELETE", GRANTED),
    "exact": (["orders:read"], "GET", GRANTED),
    "other-action": (["orders:read"], "POST", "403 scope_missing"),
    "other-asset": (["reports:read"], "GET", "403 scope_missing"),
    "any-action": (["orders:*"], "DELETE", GRANTED),
    "any-asset": (["*:read"], "GET", GRANTED),
    "everything": (["*:*"], "DELETE", GRANTED),
    "one-of-several": (["reports:read", "orders:write"], "POST", GRANTED),
    "prefix-is-no-scope": (["order:read", "orders:rea"], "GET", "403 scope_missing"),
}


@pytest.mark.parametrize("scopes, method, expected", SCOPES.values(), ids=SCOPES.keys())
def test_scopes_of_a_key_only_take_away(scopes: list[str], method: str, expected: str) -> None:
    assert decided([principal(grants=[grant(7, "*")])], method, scopes=scopes) == expected


def test_scope_gives_nothing_that_its_principal_lacks() -> None:
    assert decided([principal()], scopes=["*:*"]) == NO_GRANT
    assert decided([principal(role_ids=[1])], scopes=["orders:read"], method="POST") == "403 scope_missing"


def test_scope_speaks_of_the_service_where_there_is_no_asset() -> None:
    route = {"access": "authenticated"}
    assert decided([principal()], route=route, scopes=["service-1:read"]) == "allow: access:authenticated"
    assert decided([principal()], route=route, scopes=["orders:read"]) == "403 scope_missing"


def test_allowance_that_is_remembered_ends_with_its_grant() -> None:
    rows = [principal(grants=[grant(7, expires_at=NOW + 10)])]
    world = World(snapshot_of(route_row("orders", "/orders", **ORDERS)), directory(*ROLES, *rows, key(1)))
    asked = scope("GET", "/orders", [("x-api-key", secret_of(1))])
    assert verdict(world, asked, now=NOW) == GRANTED
    assert verdict(world, asked, now=NOW + 9.999) == GRANTED
    assert verdict(world, asked, now=NOW + 10) == NO_GRANT


def test_allowance_that_is_remembered_counts_for_that_action_and_route_alone() -> None:
    routes = [
        route_row("orders", "/orders", asset="orders"),
        route_row("reports", "/reports", asset="reports"),
    ]
    rows = [principal(grants=[grant(7, "read")]), key(1)]
    world = World(snapshot_of(*routes), directory(*rows))
    credentials = [("x-api-key", secret_of(1))]
    for _ in range(2):
        assert verdict(world, scope("GET", "/orders", credentials)) == GRANTED
        assert verdict(world, scope("POST", "/orders", credentials)) == NO_GRANT
        assert verdict(world, scope("GET", "/reports", credentials)) == NO_GRANT
    # The same route, compiled anew with another rule.
    world.snapshot = snapshot_of(route_row("orders", "/orders", asset="orders", required_roles=["admin"]))
    assert verdict(world, scope("GET", "/orders", credentials)) == "403 role_missing"
    world.directory.put_principal(principal())
    world.snapshot = snapshot_of(*routes)
    assert verdict(world, scope("GET", "/orders", credentials)) == NO_GRANT


def test_what_an_identity_remembers_is_bounded() -> None:
    routes = [route_row(f"r{n}", f"/r{n}", access="authenticated") for n in range(600)]
    world = World(snapshot_of(*routes), directory(principal(), key(1)))
    for number in range(600):
        asked = scope("GET", f"/r{number}", [("x-api-key", secret_of(1))])
        assert verdict(world, asked) == "allow: access:authenticated"
    (identity,) = world.directory._identities.values()
    assert len(identity.verdicts) <= 256


@pytest.mark.parametrize(
    "method, action",
    [
        *((method, "read") for method in ("GET", "HEAD", "OPTIONS")),
        *((method, "write") for method in ("POST", "PUT", "PATCH", "PROPFIND", "get")),
        ("DELETE", "delete"),
    ],
)
def test_method_stands_for_an_action(method: str, action: str) -> None:
    assert action_of(method) == action
