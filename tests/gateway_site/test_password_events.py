"""That a password was set, replaced or removed is recorded, with who did it and without a word of it."""

from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.db import transaction

from accounts.models import Principal
from auditlog import recorder as audit
from tests.admin_client import AdminClient

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a long enough pass phrase"

Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    seen: Events = []
    monkeypatch.setattr(audit, "record", lambda event, fields, now=None: seen.append((event, fields)))
    return seen


def named(events: Events, name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in events if event == name]


def test_password_that_is_set_replaced_and_removed_is_recorded_as_such(events: Events) -> None:
    principal = Principal.objects.create(name="alice")
    assert named(events, "password_changed") == []
    for password in (PASSWORD, "another long pass phrase", None):
        principal.set_password(password)
        principal.save()
    changed = named(events, "password_changed")
    assert [fields["action"] for fields in changed] == ["set", "replaced", "removed"]
    assert {fields["object_name"] for fields in changed} == {"alice"}
    assert "principal_changed" not in [event for event, _ in events]
    assert PASSWORD not in repr(events)
    assert "argon2" not in repr(events)


def test_principal_created_with_a_password_has_one_set(events: Events) -> None:
    Principal.objects.create_user("alice", PASSWORD)
    (changed,) = named(events, "password_changed")
    assert (changed["action"], changed["object_name"]) == ("set", "alice")
    assert changed["object_id"] == str(Principal.objects.get(name="alice").pk)
    assert "argon2" not in repr(events)


def test_hash_that_is_written_past_set_password_is_recorded_too(events: Events) -> None:
    principal = Principal.objects.create_user("alice", PASSWORD)
    principal.password = make_password("another long pass phrase")
    principal.save()
    assert [fields["action"] for fields in named(events, "password_changed")] == ["set", "replaced"]


def test_save_that_leaves_the_password_alone_is_not_recorded(events: Events) -> None:
    principal = Principal.objects.create_user("alice", PASSWORD)
    events.clear()
    principal.display_name = "Alice"
    principal.save()
    principal.save(update_fields=["display_name", "updated_at"])
    assert named(events, "password_changed") == []


def test_hash_that_is_upgraded_at_sign_in_is_no_change_of_password(events: Events) -> None:
    principal = Principal.objects.create_user("alice", None)
    principal.password = make_password(PASSWORD, hasher="pbkdf2_sha256")
    principal.save()
    events.clear()
    assert principal.check_password(PASSWORD)
    assert [event for event, _ in events] == ["password_hash_upgraded"]


def test_change_that_is_rolled_back_is_not_recorded(events: Events) -> None:
    with transaction.atomic():
        Principal.objects.create_user("alice", PASSWORD)
        transaction.set_rollback(True)
    assert events == []


def test_password_changed_in_the_admin_says_who_and_whose(admin: AdminClient, events: Events) -> None:
    alice = Principal.objects.create_user("alice", PASSWORD, is_staff=True)
    events.clear()
    new = "another long pass phrase"
    form = {"password1": new, "password2": new, "usable_password": "true"}
    assert admin.post(f"/admin/accounts/principal/{alice.pk}/password/", form).status_code == 302
    (changed,) = named(events, "password_changed")
    assert (changed["principal"], changed["object_name"], changed["action"]) == ("root", "alice", "replaced")
    assert (changed["origin"], changed["client_ip"]) == ("control_plane", "127.0.0.1")
    assert new not in repr(events)


def test_command_that_resets_a_password_is_recorded(
    events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("create_admin", "--name", "root")
    call_command("create_admin", "--name", "root", "--reset")
    changed = named(events, "password_changed")
    assert [(fields["action"], fields["origin"]) for fields in changed] == [
        ("set", "command"),
        ("replaced", "command"),
    ]
    printed = [line.removeprefix("Password: ") for line in capsys.readouterr().out.splitlines()]
    assert not any(len(words) > 15 and words in repr(events) for words in printed)
