"""Principals, assets and grants as CSV."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from accounts.models import Asset, Grant, Principal, Role
from accounts.revisions import current_revision
from tests.admin_client import AdminClient, errors_of


def upload(client: AdminClient, page: str, *lines: str) -> Any:
    file = SimpleUploadedFile("rows.csv", "\n".join(lines).encode(), "text/csv")
    return client.post(f"/admin/accounts/{page}/import/", {"import_file": file, "format": "0"})


def test_an_import_is_one_revision_and_in_the_history(admin: AdminClient) -> None:
    before = current_revision()
    response = upload(
        admin,
        "principal",
        "name,kind,display_name,email,is_active,roles",
        "alice,user,Alice,alice@example.com,1,engineer analyst",
        "robot,service_account,,,0,",
    )
    assert response.status_code == 302, errors_of(response)
    alice = Principal.objects.get(name="alice")
    assert set(alice.roles.values_list("name", flat=True)) == {"engineer", "analyst"}
    assert not alice.has_usable_password()
    assert not Principal.objects.get(name="robot").is_active
    assert current_revision() == before + 1
    assert alice.history.first().history_user == admin.principal


def test_one_wrong_row_is_named_and_nothing_is_imported(admin: AdminClient) -> None:
    before = current_revision()
    response = upload(
        admin, "asset", "name,description,sensitivity", "orders,Orders,high", "b,x,huge", "c d,,low"
    )
    page = errors_of(response)
    assert "Value 'huge' is not a valid choice." in page
    assert "Use letters, digits" in page
    assert not Asset.objects.exists()
    assert current_revision() == before


def test_an_unknown_role_is_named(admin: AdminClient) -> None:
    response = upload(admin, "principal", "name,kind,is_active,roles", "alice,user,1,engineer wizard")
    assert "No role is named wizard." in errors_of(response)
    assert not Principal.objects.filter(name="alice").exists()


def test_grants_name_both_ends_and_a_second_import_changes_nothing(admin: AdminClient) -> None:
    Principal.objects.create(name="alice")
    Asset.objects.create(name="orders")
    lines = (
        "principal,asset,actions,expires_at,condition,justification",
        "alice,orders,read write,2030-01-01 00:00:00,,on-call",
    )
    assert upload(admin, "grant", *lines).status_code == 302
    grant = Grant.objects.get()
    assert (grant.actions, grant.justification) == (["read", "write"], "on-call")
    assert grant.expires_at.isoformat() == "2030-01-01T00:00:00+00:00"
    before = current_revision()
    assert upload(admin, "grant", *lines).status_code == 302
    assert current_revision() == before
    assert Grant.history.count() == 1


@pytest.mark.parametrize("cells", ["nobody,orders,read", "alice,nothing,read", "alice,orders,fly"])
def test_a_wrong_grant_is_refused(admin: AdminClient, cells: str) -> None:
    Principal.objects.create(name="alice")
    Asset.objects.create(name="orders")
    response = upload(admin, "grant", "principal,asset,actions,condition,justification", f"{cells},,")
    assert response.status_code == 200
    assert not Grant.objects.exists()


def test_an_export_can_be_imported_again(admin: AdminClient) -> None:
    alice = Principal.objects.create(name="alice", is_active=False)
    alice.roles.add(Role.objects.get(name="engineer"))
    Grant.objects.create(
        principal=alice,
        asset=Asset.objects.create(name="orders"),
        actions=["read", "write"],
        expires_at=timezone.now(),
    )
    exported = {page: admin.get(f"/admin/accounts/{page}/export/").content for page in ("principal", "grant")}
    before = current_revision()
    for page, content in exported.items():
        assert upload(admin, page, *content.decode().splitlines()).status_code == 302
    assert Grant.objects.count() == 1
    assert Principal.objects.count() == 2
    assert current_revision() <= before + 1


def test_an_export_holds_no_secret_and_no_formula(admin: AdminClient) -> None:
    Principal.objects.create_user("alice", "a password of some length", display_name="=1+1")
    content = admin.get("/admin/accounts/principal/export/").content.decode()
    assert content.splitlines()[0] == "name,kind,display_name,email,is_active,roles"
    assert "argon2" not in content
    assert "=1+1" not in content


def test_nobody_changes_a_superuser_by_a_file(admin: AdminClient, operator: AdminClient) -> None:
    response = upload(operator, "principal", "name,kind,is_active,roles", "root,user,0,")
    assert "Only a superuser may change root." in errors_of(response)
    assert Principal.objects.get(name="root").is_active


def test_columns_beyond_the_known_ones_change_nothing(operator: AdminClient) -> None:
    upload(operator, "principal", "name,kind,is_active,roles,is_superuser,is_staff", "eve,user,1,,1,1")
    eve = Principal.objects.get(name="eve")
    assert not eve.is_superuser
    assert not eve.is_staff


def test_who_may_only_look_exports_but_does_not_import(db: None) -> None:
    from django.contrib.auth.models import Permission

    viewer = Principal.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = AdminClient(viewer)
    assert upload(client, "asset", "name,description,sensitivity", "a,,low").status_code == 403
    assert client.post("/admin/accounts/asset/process_import/", {}).status_code == 403
    assert client.get("/admin/accounts/asset/export/").status_code == 200
    assert not Asset.objects.exists()
