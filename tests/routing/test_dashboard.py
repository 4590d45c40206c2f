"""The figures on the first page."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.keys import issue_key, revoke_key
from accounts.models import Asset, Grant, Principal
from accounts.revisions import current_revision
from routing.models import Route, Service, Worker
from tests.admin_client import AdminClient

SOON = timedelta(days=29)


def context_of(admin: AdminClient) -> dict[str, object]:
    response = admin.get("/admin/")
    assert response.status_code == 200
    return response.context_data


def test_the_figures_count_what_there_is_and_what_ends_soon(admin: AdminClient) -> None:
    now = timezone.now()
    alice = Principal.objects.create(name="alice", is_active=False)
    issue_key(alice, "for-ever")
    issue_key(alice, "soon", expires_at=now + SOON)
    issue_key(alice, "ended", expires_at=now - SOON)
    revoke_key(issue_key(alice, "revoked", expires_at=now + SOON).key)
    for name, fields in {"a": {"expires_at": now + SOON}, "b": {"condition": "true"}}.items():
        Grant.objects.create(
            principal=alice, asset=Asset.objects.create(name=name), actions=["read"], **fields
        )
    service = Service.objects.create(name="s")
    Route.objects.create(name="on", service=service, path="/a", access="public")
    Route.objects.create(name="off", service=service, path="/b", access="public", enabled=False)
    context = context_of(admin)
    assert [(card["title"], card["figure"], card["note"]) for card in context["cards"]] == [
        ("Principals", 2, "1 disabled"),
        ("Live API keys", 2, "1 expire within 30 days"),
        ("Grants", 2, "1 expire within 30 days, 1 conditional"),
        ("Routes", 2, "1 switched off"),
    ]
    assert [(row["count"], row["percent"]) for row in context["access"]] == [(1, 100), (0, 0), (0, 0)]


def test_a_worker_that_serves_an_older_revision_is_marked(admin: AdminClient) -> None:
    now = timezone.now()
    Worker.objects.create(
        node="host", pid=1, role="all", revision=current_revision() - 1, started_at=now, seen_at=now
    )
    context = context_of(admin)
    assert context["revision"] == current_revision()
    assert [row["state"] for row in context["workers"]] == ["behind"]


def test_live_workers_that_lost_audit_records_are_named_with_what_to_do(admin: AdminClient) -> None:
    now = timezone.now()
    for node, dropped, seen_at in (
        ("lossy", 7, now),
        ("sound", 0, now),
        ("gone", 9, now - timedelta(minutes=1)),
    ):
        Worker.objects.create(
            node=node, pid=1, role="all", audit_dropped=dropped, started_at=now, seen_at=seen_at
        )
    assert [worker.node for worker in context_of(admin)["droppers"]] == ["lossy"]
    page = admin.page("/admin/")
    assert "lossy:1 has dropped 7 since" in page
    assert "GATEWAY_AUDIT_SPOOL_BYTES" in page
    assert "event=records_dropped" in page
    assert "sound:1 has dropped" not in page


def test_no_loss_is_no_notice(admin: AdminClient) -> None:
    assert "have been lost" not in admin.page("/admin/")


def test_the_latest_changes_name_who_and_what_deletions_too(admin: AdminClient) -> None:
    asset = Asset.objects.create(name="orders")
    admin.post(f"/admin/accounts/asset/{asset.pk}/delete/", {"post": "yes"})
    newest = context_of(admin)["changes"][0]
    assert (newest["how"], newest["what"], newest["url"]) == ("deleted", "asset orders", "")
    assert newest["who"] == admin.principal


def test_a_change_of_a_grant_names_both_ends(admin: AdminClient) -> None:
    alice, orders = Principal.objects.create(name="alice"), Asset.objects.create(name="orders")
    Grant.objects.create(principal=alice, asset=orders, actions=["read"])
    assert context_of(admin)["changes"][0]["what"] == "grant alice · orders"


def test_the_page_takes_as_many_queries_for_many_rows_as_for_few(admin: AdminClient) -> None:
    counts = []
    for first, last in ((0, 3), (3, 20)):
        for number in range(first, last):
            principal = Principal.objects.create(name=f"p{number}")
            asset = Asset.objects.create(name=f"a{number}")
            Grant.objects.create(principal=principal, asset=asset, actions=["read"])
        context_of(admin)
        with CaptureQueriesContext(connection) as queries:
            context_of(admin)
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("codename, shown", [("view_route", "Routes"), ("view_principal", "Principals")])
def test_the_sidebar_shows_what_may_be_seen(db: None, codename: str, shown: str) -> None:
    from django.contrib.auth.models import Permission

    viewer = Principal.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename=codename))
    context = context_of(AdminClient(viewer))
    titles = [item["title"] for group in context["sidebar_navigation"] for item in group["items"]]
    assert titles == ["Dashboard", shown]
    assert context["changes"] == []
    assert [card["title"] for card in context["cards"]] == [shown]
