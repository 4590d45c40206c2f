"""The page of sign-in lockouts: who sees it, what it shows, and what Unlock does."""

from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import Permission
from django.utils import timezone

from accounts.models import Principal
from auditlog import recorder as audit
from gateway_site.logins.attempts import Attempt, lockouts, reserve
from gateway_site.logins.names import name_key
from tests.admin_client import AdminClient, errors_of

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/axes/accessattempt/"
UNLOCK = f"{PAGE}unlock/"
HERE = "192.0.2.1"


def lock(name: str, address: str = HERE, times: int = settings.GATEWAY_LOGIN_FAILURES) -> dict[str, str]:
    """The fields of the form that unlocks it."""
    for _ in range(times):
        reserve(Attempt(name_key(name), address), timezone.now())
    return {"key": name_key(name), "address": address}


def viewer(*codenames: str) -> AdminClient:
    principal = Principal.objects.create_user("viewer", is_staff=True)
    principal.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return AdminClient(principal)


def test_page_names_who_is_locked_and_hides_what_nobody_is_called(admin: AdminClient) -> None:
    lock("root")
    lock("my-password-by-mistake", "2001:db8::")
    lock("nearly", times=2)
    page = errors_of(admin.get(PAGE))
    assert "root 192.0.2.1 5" in page
    assert f"nobody who may sign in {name_key('my-password-by-mistake')} 2001:db8::/64 5" in page
    assert "in 15 minutes" in page
    assert "my-password" not in page
    assert name_key("nearly") not in page


def test_page_without_lockouts_says_so(admin: AdminClient) -> None:
    assert "Nobody is locked out." in errors_of(admin.get(PAGE))


def test_address_locked_as_a_whole_stands_first(admin: AdminClient) -> None:
    for number in range(settings.GATEWAY_LOGIN_FAILURES * 10):
        lock(f"name-{number}", times=1)
    assert "every name 192.0.2.1 50" in errors_of(admin.get(PAGE))
    response = admin.post(UNLOCK, {"key": "", "address": HERE}, follow=True)
    assert "Every name may sign in from 192.0.2.1 again." in errors_of(response)
    assert AccessAttempt.objects.count() == 0


def test_unlock_lets_in_again_and_is_recorded(admin: AdminClient, monkeypatch: pytest.MonkeyPatch) -> None:
    form = lock("root")
    other = lock("root", "192.0.2.2")
    seen: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(audit, "record", lambda event, fields, now=None: seen.append((event, fields)))
    response = admin.post(UNLOCK, form, follow=True, headers={"User-Agent": "browser"})
    assert "root may sign in from 192.0.2.1 again." in errors_of(response)
    assert [each.address for each in lockouts(timezone.now())] == [other["address"]]
    (fields,) = (fields for event, fields in seen if event == "login_unlocked")
    assert (fields["principal"], fields["object_name"]) == ("root", "root")
    assert (fields["address"], fields["user_agent"]) == (HERE, "browser")


@pytest.mark.parametrize(
    "form", [{}, {"key": "h:x", "address": HERE}, {"key": "", "address": HERE}, {"key": "", "address": "x"}]
)
def test_made_up_form_unlocks_nothing(admin: AdminClient, form: dict[str, str]) -> None:
    lock("root")
    assert "has ended already" in errors_of(admin.post(UNLOCK, form, follow=True))
    assert len(lockouts(timezone.now())) == 1


def test_who_may_only_look_is_offered_and_allowed_no_unlock() -> None:
    looking = viewer("view_accessattempt")
    form = lock("root")
    assert "Unlock" not in looking.page(PAGE)
    assert looking.post(UNLOCK, form).status_code == 403
    assert len(lockouts(timezone.now())) == 1


def test_page_is_for_those_who_may_see_it() -> None:
    assert viewer("view_principal").get(PAGE).status_code == 403


def test_only_the_form_unlocks_and_no_raw_row_is_shown(admin: AdminClient) -> None:
    lock("root")
    assert admin.get(UNLOCK).status_code == 405
    for path in ("add/", "1/change/", "1/delete/", "1/history/"):
        assert admin.get(f"{PAGE}{path}").status_code == 404
    for model in ("accesslog", "accessfailurelog"):
        assert admin.get(f"/admin/axes/{model}/").status_code == 404


def test_sidebar_leads_to_the_page(admin: AdminClient) -> None:
    assert f'href="{PAGE}"' in admin.page("/admin/")


def test_permissions_to_see_and_lift_lockouts_can_be_given(admin: AdminClient) -> None:
    principal = Principal.objects.create_user("operator", is_staff=True)
    page = admin.page(f"/admin/accounts/principal/{principal.pk}/change/")
    assert "Can view access attempt" in page
    assert "Can delete access attempt" in page
    assert "Can add access attempt" not in page
