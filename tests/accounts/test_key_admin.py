"""A key's secret is in one answer and nowhere else."""

import json
import re
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.keys import digest_of, issue_key
from accounts.models import ApiKey, Principal
from tests.admin_client import AdminClient, errors_of

KEYS = "/admin/accounts/apikey/"
SECRET = re.compile(r"gw_[a-z2-7]+_[\w-]{43}")


@pytest.fixture
def alice(db: None) -> Principal:
    return Principal.objects.create(name="alice")


def secret_in(response: object) -> str:
    found = SECRET.findall(response.content.decode())
    assert len(set(found)) == 1, "one secret is shown"
    return found[0]


def everything_stored() -> str:
    """Sessions, histories and log entries, as text."""
    from django.contrib.admin.models import LogEntry

    sessions = [json.dumps(session.get_decoded()) for session in Session.objects.all()]
    records = [str(vars(record)) for record in ApiKey.history.all()]
    return "".join([*sessions, *records, *(str(vars(entry)) for entry in LogEntry.objects.all())])


def test_a_new_key_is_shown_in_the_answer_to_its_form(admin: AdminClient, alice: Principal) -> None:
    response = admin.submit(
        f"{KEYS}add/", principal=str(alice.pk), name="laptop", scopes="orders:read, products:*"
    )
    assert response.status_code == 200
    secret = secret_in(response)
    key = ApiKey.objects.get()
    assert bytes(key.digest) == digest_of(secret)
    assert key.scopes == ["orders:read", "products:*"]
    assert "no-store" in response["Cache-Control"]
    assert key.history.get().history_user == admin.principal


def test_a_secret_is_stored_nowhere(admin: AdminClient, alice: Principal) -> None:
    secret = secret_in(admin.submit(f"{KEYS}add/", principal=str(alice.pk), name="laptop"))
    digest = bytes(ApiKey.objects.get().digest)
    stored = everything_stored()
    assert secret not in stored
    assert digest.hex() not in stored
    assert str(digest) not in stored
    assert all(secret not in cookie.value for cookie in admin.cookies.values())
    key = ApiKey.objects.get()
    pages = (KEYS, f"{KEYS}{key.pk}/change/", f"{KEYS}{key.pk}/history/", "/admin/")
    for page in (*pages, f"/admin/accounts/principal/{alice.pk}/change/"):
        content = admin.page(page)
        assert secret not in content
        assert digest.hex() not in content


def test_the_same_form_sent_again_makes_and_shows_no_second_key(admin: AdminClient, alice: Principal) -> None:
    form = {**admin.form(f"{KEYS}add/"), "principal": str(alice.pk), "name": "laptop"}
    secret_in(admin.post(f"{KEYS}add/", form))
    again = admin.post(f"{KEYS}add/", form)
    assert "has a key of that name already" in errors_of(again)
    assert not SECRET.search(again.content.decode())
    assert ApiKey.objects.count() == 1


def test_a_key_made_on_the_page_of_its_principal_is_shown_once(admin: AdminClient, alice: Principal) -> None:
    path = f"/admin/accounts/principal/{alice.pk}/change/"
    expires = timezone.now() + timedelta(days=3)
    response = admin.submit(
        path,
        **{
            "api_keys-TOTAL_FORMS": "1",
            "api_keys-0-name": "laptop",
            "api_keys-0-expires_at_0": expires.strftime("%Y-%m-%d"),
            "api_keys-0-expires_at_1": "12:00:00",
        },
    )
    assert bytes(ApiKey.objects.get().digest) == digest_of(secret_in(response))
    assert ApiKey.objects.get().expires_at is not None
    assert not SECRET.search(admin.page(path))


def test_changing_a_key_on_the_page_of_its_principal_makes_no_other(
    admin: AdminClient, alice: Principal
) -> None:
    issued = issue_key(alice, "laptop")
    response = admin.submit(
        f"/admin/accounts/principal/{alice.pk}/change/", **{"api_keys-0-scopes": "orders:read"}
    )
    assert response.status_code == 302
    key = ApiKey.objects.get()
    assert key.scopes == ["orders:read"]
    assert bytes(key.digest) == bytes(issued.key.digest)


def test_a_key_never_changes_hands(admin: AdminClient, alice: Principal) -> None:
    bob = Principal.objects.create(name="bob")
    key = issue_key(alice, "laptop").key
    assert admin.submit(f"{KEYS}{key.pk}/change/", principal=str(bob.pk)).status_code == 302
    assert ApiKey.objects.get().principal == alice


def test_a_group_gets_no_key(admin: AdminClient, db: None) -> None:
    lab = Principal.objects.create(name="lab", kind="group")
    response = admin.submit(f"{KEYS}add/", principal=str(lab.pk), name="k")
    assert "A group can't hold API keys" in errors_of(response)
    assert not ApiKey.objects.exists()


def test_rotating_shows_the_successor_and_repeating_it_does_nothing(
    admin: AdminClient, alice: Principal
) -> None:
    old = issue_key(alice, "laptop").key
    path = f"{KEYS}{old.pk}/rotate/"
    form = admin.form(path)
    response = admin.post(path, form)
    successor = ApiKey.objects.get(name="laptop")
    assert bytes(successor.digest) == digest_of(secret_in(response))
    again = admin.post(path, form, follow=True)
    assert "nothing was done" in errors_of(again)
    assert not SECRET.search(again.content.decode())
    assert ApiKey.objects.count() == 2


def test_a_link_alone_neither_rotates_nor_revokes(admin: AdminClient, alice: Principal) -> None:
    key = issue_key(alice, "laptop").key
    admin.page(f"{KEYS}{key.pk}/rotate/")
    admin.page(f"{KEYS}{key.pk}/revoke/")
    assert ApiKey.objects.get().state == "live"


def test_revoking_needs_the_token_of_the_form(alice: Principal, superuser: Principal) -> None:
    key = issue_key(alice, "laptop").key
    forged = AdminClient(superuser, enforce_csrf_checks=True)
    assert forged.post(f"{KEYS}{key.pk}/revoke/").status_code == 403
    assert ApiKey.objects.get().state == "live"


def test_revoking_ends_the_key_and_names_who_did_it(admin: AdminClient, alice: Principal) -> None:
    key = issue_key(alice, "laptop").key
    path = f"{KEYS}{key.pk}/revoke/"
    admin.post(path, admin.form(path))
    key.refresh_from_db()
    assert key.state == "revoked"
    assert key.history.latest().history_user == admin.principal
    assert admin.post(f"{KEYS}{key.pk}/rotate/").status_code == 302
    assert ApiKey.objects.count() == 1


def test_selected_keys_are_revoked_together(admin: AdminClient, alice: Principal) -> None:
    keys = [issue_key(alice, f"k{number}").key.pk for number in range(3)]
    admin.post(KEYS, {"action": "revoke_selected", "_selected_action": keys[:2]})
    assert ApiKey.objects.exclude(revoked_at=None).count() == 2


def test_who_may_only_look_can_not_revoke(alice: Principal) -> None:
    from django.contrib.auth.models import Permission

    viewer = Principal.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client, key = AdminClient(viewer), issue_key(alice, "laptop").key
    assert client.post(f"{KEYS}{key.pk}/revoke/").status_code == 403
    assert client.post(f"{KEYS}{key.pk}/rotate/").status_code == 403
    client.post(KEYS, {"action": "revoke_selected", "_selected_action": [key.pk]})
    key.refresh_from_db()
    assert key.state == "live"


@pytest.mark.parametrize("state", ["live", "expiring", "expired", "revoked"])
def test_keys_are_filtered_by_state(admin: AdminClient, alice: Principal, state: str) -> None:
    now = timezone.now()
    fields = {
        "live": {},
        "expiring": {"expires_at": now + timedelta(days=5)},
        "expired": {"expires_at": now - timedelta(days=5)},
        "revoked": {"revoked_at": now},
    }
    for name, given in fields.items():
        issue_key(alice, f"is-{name}", **given)
    page = admin.page(f"{KEYS}?state={state}")
    shown = {name for name in fields if f">is-{name}</a>" in page}
    assert shown == ({"live", "expiring"} if state == "live" else {state})
