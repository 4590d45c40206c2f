"""Who came in, who did not, and who let whom in again is recorded; what was typed is not."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.db import transaction
from django.test import Client, RequestFactory

from accounts.models import Principal
from auditlog import recorder as audit
from gateway_site.logins.events import record_unlock

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a long enough pass phrase"
Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    seen: Events = []
    monkeypatch.setattr(audit, "record", lambda event, fields, now=None: seen.append((event, fields)))
    yield seen
    assert PASSWORD not in repr(seen)


def named(events: Events, name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in events if event == name]


@pytest.fixture
def admin(client: Client, events: Events) -> Principal:
    person = Principal.objects.create_superuser("root", PASSWORD)
    client.force_login(person)
    events.clear()
    return person


def test_login_and_logout_are_recorded(client: Client, admin: Principal, events: Events) -> None:
    client.logout()
    client.post("/admin/login/", {"username": "root", "password": PASSWORD})
    client.post("/admin/logout/")
    assert named(events, "login_succeeded")[0]["principal"] == "root"
    assert [fields["principal"] for fields in named(events, "logout")] == ["root", "root"]
    assert PASSWORD not in repr(events)


def test_failed_login_names_who_exists_and_hashes_anything_else(admin: Principal, events: Events) -> None:
    assert authenticate(username="root", password="wrong") is None
    assert authenticate(username="my-password-by-mistake", password="wrong") is None
    first, second = (fields["principal"] for fields in named(events, "login_failed"))
    assert first == "root"
    assert second.startswith("h:")
    assert "my-password" not in repr(events)


def test_unlock_says_who_whom_and_from_where(admin: Principal, events: Events) -> None:
    request = RequestFactory(REMOTE_ADDR="192.0.2.9").post("/admin/")
    with transaction.atomic():
        record_unlock("alice", "192.0.2.1", admin, request)
        assert events == []
    (unlocked,) = named(events, "login_unlocked")
    assert (unlocked["principal"], unlocked["principal_id"]) == ("root", admin.pk)
    assert (unlocked["object_name"], unlocked["address"]) == ("alice", "192.0.2.1")
    assert (unlocked["client_ip"], unlocked["origin"]) == ("192.0.2.9", "control_plane")


def test_unlock_that_is_rolled_back_is_not_recorded(events: Events) -> None:
    with transaction.atomic():
        record_unlock("alice", None, None, None)
        transaction.set_rollback(True)
    assert events == []
