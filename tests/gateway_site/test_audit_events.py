"""What happens in the control plane is recorded: who, what, from where, and no secret."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from accounts.keys import issue_key, revoke_key
from accounts.models import Principal, Role
from auditlog import recorder as audit
from tests.auditlog.conftest import KEY

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a long enough pass phrase"
Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    seen: Events = []
    monkeypatch.setattr(audit, "record", lambda event, fields, now=None: seen.append((event, fields)))
    yield seen
    assert KEY.secret not in repr(seen).encode()


def named(events: Events, name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in events if event == name]


@pytest.fixture
def admin(client: Client, events: Events) -> Principal:
    person = Principal(name="root", is_staff=True, is_superuser=True)
    person.set_password(PASSWORD)
    person.save()
    client.force_login(person)
    events.clear()
    return person


def test_change_is_recorded_with_old_and_new_value(events: Events) -> None:
    principal = Principal.objects.create(name="alice")
    principal.attributes = {"department": "lab"}
    principal.save()
    assert named(events, "principal_created")[0]["changes"]["name"] == "alice"
    (changed,) = named(events, "principal_changed")
    assert changed["changes"] == {"attributes": {"old": {}, "new": {"department": "lab"}}}
    assert (changed["object_name"], changed["origin"]) == ("alice", "command")


def test_role_that_is_given_is_a_change_of_its_principal(events: Events) -> None:
    principal = Principal.objects.create(name="alice")
    principal.roles.add(Role.objects.create(name="night-shift"))
    assert "roles" in named(events, "principal_changed")[-1]["changes"]


def test_change_that_is_rolled_back_is_not_recorded(events: Events) -> None:
    with transaction.atomic():
        Principal.objects.create(name="alice")
        transaction.set_rollback(True)
    assert events == []


def test_key_events_say_its_public_id_and_never_its_secret(events: Events) -> None:
    issued = issue_key(Principal.objects.create(name="alice"), "laptop")
    revoke_key(issued.key)
    assert named(events, "api_key_created")[0]["changes"]["public_id"] == issued.key.public_id
    assert "revoked_at" in named(events, "api_key_changed")[0]["changes"]
    assert issued.secret.rsplit("_", 1)[1] not in repr(events)


def test_password_is_never_part_of_a_change(events: Events) -> None:
    principal = Principal.objects.create(name="alice")
    principal.set_password(PASSWORD)
    principal.save()
    assert PASSWORD not in repr(events)
    assert "argon2" not in repr(events)


def test_change_in_the_admin_says_who_and_from_where(
    client: Client, admin: Principal, events: Events
) -> None:
    client.post(
        "/admin/accounts/asset/add/",
        {"name": "orders", "sensitivity": "high", "description": ""},
        headers={"X-Request-ID": "request-1", "User-Agent": "browser"},
    )
    (created,) = named(events, "asset_created")
    assert created["principal"] == "root"
    assert created["origin"] == "control_plane"
    assert (created["request_id"], created["method"]) == ("request-1", "POST")
    assert created["user_agent"] == "browser"
