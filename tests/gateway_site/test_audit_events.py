"""What happens in the control plane is recorded: who, what, from where, and no secret."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from accounts.keys import IssuedKey, issue_key, revoke_key, rotate_key
from accounts.models import Asset, Principal, Role
from auditlog import recorder as audit
from tests.auditlog.conftest import KEY
from tests.routing.configuration_file.documents import apply

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


def no_secret_of(issued: IssuedKey, events: Events) -> None:
    assert issued.secret.rsplit("_", 1)[1] not in repr(events)
    assert issued.key.digest.hex() not in repr(events)
    assert repr(issued.key.digest) not in repr(events)


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


def test_change_that_is_rolled_back_is_not_recorded(events: Events) -> None:
    with transaction.atomic():
        Principal.objects.create(name="alice")
        transaction.set_rollback(True)
    assert events == []


def test_revoked_key_is_an_event_of_its_own(events: Events) -> None:
    issued = issue_key(Principal.objects.create(name="alice"), "laptop")
    revoke_key(issued.key)
    revoke_key(issued.key)
    assert named(events, "api_key_created")[0]["changes"]["public_id"] == issued.key.public_id
    (revoked,) = named(events, "api_key_revoked")
    assert revoked["object_name"] == f"laptop ({issued.key.public_id})"
    assert revoked["changes"]["revoked_at"]["old"] is None
    assert named(events, "api_key_changed") == []
    no_secret_of(issued, events)


def test_rotated_key_names_its_successor(events: Events) -> None:
    issued = issue_key(Principal.objects.create(name="alice"), "laptop")
    successor = rotate_key(issued.key)
    (rotated,) = named(events, "api_key_rotated")
    assert rotated["object_id"] == str(issued.key.pk)
    assert issued.key.public_id in rotated["object_name"]
    assert rotated["successor"] == successor.key.public_id
    assert rotated["works_until"] == str(issued.key.expires_at)
    assert "expires_at" in named(events, "api_key_changed")[0]["changes"]
    assert len(named(events, "api_key_created")) == 2
    no_secret_of(issued, events)
    no_secret_of(successor, events)


def test_revocation_and_rotation_that_are_rolled_back_are_not_recorded(events: Events) -> None:
    key = issue_key(Principal.objects.create(name="alice"), "laptop").key
    events.clear()
    with transaction.atomic():
        rotate_key(key)
        revoke_key(key)
        transaction.set_rollback(True)
    assert events == []


def test_keys_revoked_and_rotated_in_the_admin_say_who(
    client: Client, admin: Principal, events: Events
) -> None:
    key = issue_key(Principal.objects.create(name="alice"), "laptop").key
    page = f"/admin/accounts/apikey/{key.pk}"
    client.post(f"{page}/rotate/", {"seen": key.updated_at.isoformat()})
    client.post(f"{page}/revoke/")
    for event in ("api_key_rotated", "api_key_revoked"):
        (fields,) = named(events, event)
        assert (fields["principal"], fields["origin"], fields["client_ip"]) == (
            "root",
            "control_plane",
            "127.0.0.1",
        )


def test_first_change_of_a_row_that_has_no_history_says_what_it_is_now(events: Events) -> None:
    role = Role.objects.create(name="night-shift")
    role.history.all().delete()
    role.permissions = ["orders:read"]
    role.save()
    (changed,) = named(events, "role_changed")
    assert changed["changes"]["permissions"] == {"new": ["orders:read"]}


def test_save_that_changes_nothing_is_no_change(events: Events) -> None:
    asset = Asset.objects.create(name="orders")
    asset.save()
    assert [event for event, _ in events] == ["asset_created"]


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


def test_rows_of_a_configuration_file_are_recorded_with_their_lists(events: Events) -> None:
    apply(
        {
            "version": 1,
            "roles": [{"name": "night-shift", "permissions": ["orders:read"]}],
            "principals": [
                {
                    "name": "alice",
                    "roles": ["night-shift"],
                    "api_keys": [{"name": "laptop", "secret": "an-imported-secret-of-theirs"}],
                }
            ],
        }
    )
    (principal,) = named(events, "principal_created")
    assert principal["object_name"] == "alice"
    assert principal["reason"]
    assert named(events, "role_created")[0]["changes"]["permissions"] == ["orders:read"]
    (changed,) = named(events, "principal_changed")
    assert changed["changes"] == {"roles": {"old": [], "new": ["night-shift"]}}
    assert named(events, "api_key_created")[0]["object_name"].startswith("laptop (")
    assert "an-imported-secret" not in repr(events)
