"""The pages of principals, roles, assets and grants."""

import pytest
from django.db import connection
from django.db.models import ProtectedError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.keys import issue_key
from accounts.models import ApiKey, Asset, Grant, Membership, Principal, Role
from accounts.revisions import current_revision
from routing.models import Route, Service
from tests.admin_client import AdminClient, errors_of

PRINCIPAL = "/admin/accounts/principal/"


def fill(first: int, last: int) -> None:
    """Rows of every kind."""
    group, _ = Principal.objects.get_or_create(name="group", kind="group")
    for number in range(first, last):
        role = Role.objects.create(name=f"role{number}", permissions=["orders:read"])
        principal = Principal.objects.create(name=f"p{number}")
        principal.roles.add(role)
        Membership.objects.create(group=group, member=principal)
        issue_key(principal, "laptop")
        asset = Asset.objects.create(name=f"asset{number}")
        Grant.objects.create(principal=principal, asset=asset, actions=["read"])


@pytest.mark.parametrize("page", ["principal", "role", "apikey", "asset", "grant"])
def test_a_list_takes_as_many_queries_for_50_rows_as_for_5(admin: AdminClient, page: str) -> None:
    counts = []
    for first, last in ((0, 5), (5, 50)):
        fill(first, last)
        admin.page(f"/admin/accounts/{page}/")
        with CaptureQueriesContext(connection) as queries:
            admin.page(f"/admin/accounts/{page}/")
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[0] <= 16


@pytest.mark.parametrize("page", ["principal", "role", "apikey", "asset", "grant"])
def test_a_list_can_be_searched(admin: AdminClient, page: str) -> None:
    fill(0, 3)
    found = admin.page(f"/admin/accounts/{page}/?q={'role1' if page == 'role' else '1'}")
    assert "1 result" in found or ">1 " in found


def test_a_new_principal_leads_to_the_page_where_keys_and_members_are_given(admin: AdminClient) -> None:
    response = admin.submit(f"{PRINCIPAL}add/", name="lab", kind="group")
    lab = Principal.objects.get(name="lab")
    assert response.url == f"{PRINCIPAL}{lab.pk}/change/"
    assert not lab.has_usable_password()
    assert "memberships-TOTAL_FORMS" in admin.form(response.url)


def test_the_page_of_a_group_offers_members_and_no_keys(admin: AdminClient) -> None:
    lab = Principal.objects.create(name="lab", kind="group")
    alice = Principal.objects.create(name="alice")
    path = f"{PRINCIPAL}{lab.pk}/change/"
    form = admin.form(path)
    assert "api_keys-TOTAL_FORMS" not in form
    response = admin.submit(path, **{"memberships-TOTAL_FORMS": "1", "memberships-0-member": str(alice.pk)})
    assert response.status_code == 302
    assert Membership.objects.get().member == alice


def test_a_circle_of_groups_is_refused_in_words(admin: AdminClient) -> None:
    lab, team = (Principal.objects.create(name=name, kind="group") for name in ("lab", "team"))
    Membership.objects.create(group=lab, member=team)
    response = admin.submit(
        f"{PRINCIPAL}{team.pk}/change/",
        **{"memberships-TOTAL_FORMS": "1", "memberships-0-member": str(lab.pk)},
    )
    assert "that would be a circle" in errors_of(response)


def test_a_save_with_its_inlines_is_one_revision_and_names_the_user(admin: AdminClient) -> None:
    alice = Principal.objects.create(name="alice")
    orders = Asset.objects.create(name="orders")
    before = current_revision()
    response = admin.submit(
        f"{PRINCIPAL}{alice.pk}/change/",
        display_name="Alice",
        roles=[str(Role.objects.get(name="engineer").pk)],
        **{
            "grants-TOTAL_FORMS": "1",
            "grants-0-asset": str(orders.pk),
            "grants-0-actions": ["read", "write"],
        },
    )
    assert response.status_code == 302
    assert current_revision() == before + 1
    assert Grant.objects.get().actions == ["read", "write"]
    assert alice.history.latest().history_user == admin.principal
    page = admin.page(f"{PRINCIPAL}{alice.pk}/history/")
    assert "root" in page
    assert "engineer" in page


def test_a_failed_inline_saves_nothing(admin: AdminClient) -> None:
    alice = Principal.objects.create(name="alice")
    before = current_revision()
    response = admin.submit(
        f"{PRINCIPAL}{alice.pk}/change/",
        display_name="Alice",
        **{"api_keys-TOTAL_FORMS": "1", "api_keys-0-name": "k", "api_keys-0-allowed_cidrs": "10.0.0.1/8"},
    )
    assert "'10.0.0.1/8' is not a network in CIDR form" in errors_of(response)
    alice.refresh_from_db()
    assert alice.display_name == ""
    assert current_revision() == before


def test_attributes_that_are_no_mapping_are_refused(admin: AdminClient) -> None:
    alice = Principal.objects.create(name="alice")
    response = admin.submit(f"{PRINCIPAL}{alice.pk}/change/", attributes="[1]")
    assert "Give a mapping of names to values" in errors_of(response)


# --- who may promote whom -----------------------------------------------------------------


def test_only_a_superuser_makes_superusers(admin: AdminClient, operator: AdminClient) -> None:
    alice = Principal.objects.create(name="alice")
    path = f"{PRINCIPAL}{alice.pk}/change/"
    assert operator.submit(path, is_superuser="on", is_staff="on").status_code == 302
    alice.refresh_from_db()
    assert not alice.is_superuser
    assert not alice.is_staff
    assert admin.submit(path, is_superuser="on", is_staff="on").status_code == 302
    alice.refresh_from_db()
    assert alice.is_superuser


def test_a_superuser_is_out_of_reach_for_everybody_else(admin: AdminClient, operator: AdminClient) -> None:
    root = admin.principal
    operator.post(f"{PRINCIPAL}{root.pk}/change/", {"name": "mine"})
    assert operator.get(f"{PRINCIPAL}{root.pk}/delete/").status_code == 403
    assert operator.get(f"{PRINCIPAL}{root.pk}/password/").status_code == 403
    operator.post(PRINCIPAL, {"action": "disable", "_selected_action": [root.pk]})
    root.refresh_from_db()
    assert (root.name, root.is_active) == ("root", True)


def test_nobody_but_a_superuser_sets_the_password_of_another_administrator(operator: AdminClient) -> None:
    other = Principal.objects.create_user("other", "a password of some length", is_staff=True)
    assert operator.get(f"{PRINCIPAL}{other.pk}/password/").status_code == 403


def test_a_superuser_sets_a_password_that_satisfies_the_policy(admin: AdminClient) -> None:
    alice = Principal.objects.create(name="alice")
    path = f"{PRINCIPAL}{alice.pk}/password/"
    assert "at least 12 characters" in errors_of(
        admin.submit(path, password1="short1", password2="short1", usable_password="true")
    )
    password = "correct horse battery staple"
    response = admin.submit(path, password1=password, password2=password, usable_password="true")
    assert response.status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(password)
    assert not any(password in str(vars(record)) for record in alice.history.all())


def test_a_group_has_no_password_page(admin: AdminClient) -> None:
    lab = Principal.objects.create(name="lab", kind="group")
    assert admin.get(f"{PRINCIPAL}{lab.pk}/password/").status_code == 302


def test_an_administrator_does_not_disable_himself(admin: AdminClient) -> None:
    alice = Principal.objects.create(name="alice")
    selected = {"action": "disable", "_selected_action": [admin.principal.pk, alice.pk]}
    before = current_revision()
    admin.post(PRINCIPAL, selected)
    states = dict(Principal.objects.values_list("name", "is_active"))
    assert states == {"root": True, "alice": False}
    assert current_revision() == before + 1


# --- deleting -----------------------------------------------------------------------------


def test_a_role_that_a_route_requires_is_protected(admin: AdminClient) -> None:
    role = Role.objects.get(name="engineer")
    route = Route.objects.create(
        name="orders", service=Service.objects.create(name="orders"), path="/orders", access="public"
    )
    route.required_roles.add(role)
    path = f"/admin/accounts/role/{role.pk}/delete/"
    assert "Route orders, which requires the role engineer" in admin.page(path)
    admin.post(path, {"post": "yes"})
    selected = {"action": "delete_selected", "_selected_action": [role.pk], "post": "yes"}
    assert "which requires the role" in errors_of(admin.post("/admin/accounts/role/", selected))
    assert Role.objects.filter(pk=role.pk).exists()


def test_an_asset_behind_a_route_is_protected_in_words(admin: AdminClient) -> None:
    asset = Asset.objects.create(name="orders")
    Route.objects.create(
        name="orders", service=Service.objects.create(name="orders"), asset=asset, path="/orders"
    )
    path = f"/admin/accounts/asset/{asset.pk}/delete/"
    assert "would require deleting the following protected related objects" in admin.page(path)
    admin.post(path, {"post": "yes"})
    assert Asset.objects.exists()


# --- grants -------------------------------------------------------------------------------


@pytest.fixture
def grants(db: None) -> None:
    alice = Principal.objects.create(name="alice")
    for name, fields in {
        "live": {},
        "ended": {"expires_at": timezone.now()},
        "conditional": {"condition": "true"},
    }.items():
        Grant.objects.create(
            principal=alice, asset=Asset.objects.create(name=name), actions=["read"], **fields
        )


@pytest.mark.parametrize(
    "state, asset", [("live", "live"), ("expired", "ended"), ("condition", "conditional")]
)
def test_grants_are_filtered_by_state(admin: AdminClient, grants: None, state: str, asset: str) -> None:
    page = admin.page(f"/admin/accounts/grant/?state={state}")
    shown = [name for name in ("live", "ended", "conditional") if f">{name}</a>" in page]
    assert shown == [asset]


def test_a_grant_with_a_condition_says_that_it_denies(admin: AdminClient, grants: None) -> None:
    conditional = Grant.objects.exclude(condition="").get()
    assert "until they are, this grant denies" in admin.page(
        f"/admin/accounts/grant/{conditional.pk}/change/"
    )
    live = Grant.objects.get(asset__name="live")
    assert "until they are, this grant denies" not in admin.page(f"/admin/accounts/grant/{live.pk}/change/")
    assert "denies: has a condition" in admin.page("/admin/accounts/grant/")


def test_an_autocomplete_finds_both_ends_of_a_grant(admin: AdminClient, grants: None) -> None:
    for field, term in (("principal", "ali"), ("asset", "con")):
        found = admin.get(
            "/admin/autocomplete/",
            {"app_label": "accounts", "model_name": "grant", "field_name": field, "term": term},
        ).json()
        assert len(found["results"]) == 1


def test_the_past_can_not_be_restored(admin: AdminClient) -> None:
    issued = issue_key(Principal.objects.create(name="alice"), "laptop")
    record = ApiKey.history.get()
    path = f"/admin/accounts/apikey/{issued.key.pk}/history/{record.pk}/"
    assert admin.get(path).status_code == 200
    assert admin.post(path, {"name": "laptop"}).status_code == 403


@pytest.mark.parametrize("page", ["", "accounts/principal/", "accounts/apikey/", "accounts/grant/"])
def test_nobody_sees_the_admin_without_signing_in(client: AdminClient, db: None, page: str) -> None:
    assert client.get(f"/admin/{page}").url.startswith("/admin/login/")


def test_what_is_protected_meanwhile_is_said_and_not_deleted(
    admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = Role.objects.get(name="engineer")
    before = current_revision()

    def protected_by_now(self: Role, *args: object) -> None:
        raise ProtectedError("A route requires the role engineer.", {role})

    monkeypatch.setattr(Role, "delete", protected_by_now)
    path = f"/admin/accounts/role/{role.pk}/delete/"
    answer = admin.post(path, {"post": "yes"}, follow=True)
    assert "A route requires the role engineer." in errors_of(answer)
    assert current_revision() == before
