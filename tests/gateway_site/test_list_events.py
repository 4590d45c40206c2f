"""Which roles, permissions and groups somebody got or lost is recorded, by name, from either side."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import transaction

from accounts.models import Principal, Role
from auditlog import recorder as audit
from routing.models import Route, Service
from tests.admin_client import AdminClient

pytestmark = pytest.mark.django_db(transaction=True)

Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    seen: Events = []
    monkeypatch.setattr(audit, "record", lambda event, fields, now=None: seen.append((event, fields)))
    return seen


def named(events: Events, name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in events if event == name]


@pytest.fixture
def alice(events: Events) -> Principal:
    return Principal.objects.create(name="alice")


@pytest.fixture
def night(events: Events) -> Role:
    return Role.objects.create(name="night-shift")


def changes(events: Events, field: str) -> list[tuple[str, list[str], list[str]]]:
    """Whose list was what and is what."""
    return [
        (fields["object_name"], fields["changes"][field]["old"], fields["changes"][field]["new"])
        for event, fields in events
        if event.endswith("_changed") and field in fields["changes"]
    ]


def test_role_that_is_given_and_taken_is_named(alice: Principal, night: Role, events: Events) -> None:
    alice.roles.add(night)
    alice.roles.remove(night)
    assert changes(events, "roles") == [("alice", [], ["night-shift"]), ("alice", ["night-shift"], [])]
    assert [event for event, _ in events].count("principal_changed") == 2


def test_roles_that_are_replaced_are_one_change(alice: Principal, night: Role, events: Events) -> None:
    alice.roles.add(night)
    events.clear()
    alice.roles.set([Role.objects.create(name="day-shift"), Role.objects.create(name="auditor")])
    assert changes(events, "roles") == [("alice", ["night-shift"], ["auditor", "day-shift"])]
    alice.roles.clear()
    assert changes(events, "roles")[1:] == [("alice", ["auditor", "day-shift"], [])]


def test_change_and_change_back_is_none(alice: Principal, night: Role, events: Events) -> None:
    with transaction.atomic():
        alice.roles.add(night)
        alice.roles.remove(night)
    assert changes(events, "roles") == []


def test_role_that_is_given_from_its_own_side_is_a_change_of_each_principal(
    alice: Principal, night: Role, events: Events
) -> None:
    bob = Principal.objects.create(name="bob")
    night.principals.set([alice, bob])
    assert sorted(changes(events, "roles")) == [
        ("alice", [], ["night-shift"]),
        ("bob", [], ["night-shift"]),
    ]
    events.clear()
    night.principals.clear()
    assert sorted(changes(events, "roles")) == [("alice", ["night-shift"], []), ("bob", ["night-shift"], [])]
    assert named(events, "role_changed") == []


def test_change_that_is_rolled_back_is_not_recorded_and_hides_no_later_one(
    alice: Principal, night: Role, events: Events
) -> None:
    events.clear()
    with transaction.atomic():
        alice.roles.add(night)
        transaction.set_rollback(True)
    assert events == []
    alice.roles.add(night)
    assert changes(events, "roles") == [("alice", [], ["night-shift"])]


def test_step_that_a_savepoint_took_back_is_not_part_of_the_change(
    alice: Principal, night: Role, events: Events
) -> None:
    day = Role.objects.create(name="day-shift")
    with transaction.atomic():
        alice.roles.add(night)
        with transaction.atomic():
            alice.roles.add(day)
            transaction.set_rollback(True)
    assert changes(events, "roles") == [("alice", [], ["night-shift"])]


def test_permissions_and_groups_are_named(alice: Principal, events: Events) -> None:
    alice.user_permissions.add(Permission.objects.get(codename="view_route"))
    alice.groups.add(Group.objects.create(name="old"))
    assert changes(events, "user_permissions") == [("alice", [], ["routing.view_route"])]
    assert changes(events, "groups") == [("alice", [], ["old"])]


def test_roles_that_a_route_requires_are_named(night: Role, events: Events) -> None:
    route = Route.objects.create(
        name="orders", service=Service.objects.create(name="s"), path="/orders", access="authenticated"
    )
    route.required_roles.add(night)
    assert changes(events, "required_roles") == [("orders", [], ["night-shift"])]


def test_role_given_in_the_admin_says_who_gave_it(
    admin: AdminClient, alice: Principal, night: Role, events: Events
) -> None:
    events.clear()
    page = f"/admin/accounts/principal/{alice.pk}/change/"
    assert admin.submit(page, roles=[night.pk]).status_code == 302
    assert changes(events, "roles") == [("alice", [], ["night-shift"])]
    (fields,) = named(events, "principal_changed")
    assert (fields["principal"], fields["path"], fields["origin"]) == ("root", page, "control_plane")


def test_permission_of_a_role_is_recorded_with_old_and_new(
    admin: AdminClient, night: Role, events: Events
) -> None:
    page = f"/admin/accounts/role/{night.pk}/change/"
    assert admin.submit(page, permissions="orders:read").status_code == 302
    (fields,) = named(events, "role_changed")
    assert fields["changes"]["permissions"] == {"old": [], "new": ["orders:read"]}
    assert fields["principal"] == "root"
