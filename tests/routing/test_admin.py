"""The pages of routes, services, settings and workers."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Asset, Role
from accounts.revisions import current_revision
from routing.models import GatewaySettings, HeaderRule, RateLimit, Route, Service, Target, Worker
from tests.admin_client import AdminClient, errors_of

ROUTES = "/admin/routing/route/"


@pytest.fixture
def service(db: None) -> Service:
    service = Service.objects.create(name="orders")
    Target.objects.create(service=service, url="http://127.0.0.1:9001")
    return service


@pytest.fixture
def route(service: Service) -> Route:
    return Route.objects.create(
        name="orders", service=service, path="/orders", asset=Asset.objects.create(name="orders")
    )


def fill(first: int, last: int) -> None:
    now = timezone.now()
    for number in range(first, last):
        service = Service.objects.create(name=f"s{number}")
        Target.objects.create(service=service, url=f"http://127.0.0.1:{number + 1}")
        asset = Asset.objects.create(name=f"a{number}")
        Route.objects.create(name=f"r{number}", service=service, asset=asset, path=f"/r{number}")
        Worker.objects.create(node="host", pid=number, role="all", started_at=now, seen_at=now)


@pytest.mark.parametrize("page", ["route", "service", "worker"])
def test_a_list_takes_as_many_queries_for_50_rows_as_for_5(admin: AdminClient, page: str) -> None:
    counts = []
    for first, last in ((0, 5), (5, 50)):
        fill(first, last)
        admin.page(f"/admin/routing/{page}/")
        with CaptureQueriesContext(connection) as queries:
            admin.page(f"/admin/routing/{page}/")
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[0] <= 16


def test_a_route_is_made_with_its_limits_and_header_rules_in_one_revision(
    admin: AdminClient, service: Service
) -> None:
    asset = Asset.objects.create(name="orders")
    before = current_revision()
    response = admin.submit(
        f"{ROUTES}add/",
        name="orders",
        path="/api/orders/{id}",
        methods=["GET", "POST"],
        hosts="api.example.com\n*.internal",
        service=str(service.pk),
        asset=str(asset.pk),
        required_roles=[str(Role.objects.get(name="engineer").pk)],
        **{
            "rate_limits-TOTAL_FORMS": "1",
            "rate_limits-0-limit": "10",
            "rate_limits-0-window": "60",
            "rate_limits-0-per": "ip",
            "rate_limits-0-algorithm": "sliding_window",
            "header_rules-TOTAL_FORMS": "1",
            "header_rules-0-direction": "request",
            "header_rules-0-operation": "set",
            "header_rules-0-name": "X-Stage",
            "header_rules-0-value": "test",
        },
    )
    assert response.status_code == 302, errors_of(response)
    route = Route.objects.get()
    assert (route.methods, route.hosts) == (["GET", "POST"], ["api.example.com", "*.internal"])
    assert route.authenticators == ["api_key", "jwt"]
    assert route.required_roles.get().name == "engineer"
    assert (RateLimit.objects.get().limit, HeaderRule.objects.get().value) == (10, "test")
    assert current_revision() == before + 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"path": "orders"}, "A path starts with /."),
        ({"path": "/admin"}, "/admin belongs to the gateway itself"),
        ({"hosts": "Api.example.com"}, "'Api.example.com' is not a host name"),
        ({"methods": ["GET", "fly"]}, "'fly' is not a method a route can take"),
        ({"asset": ""}, "A route with access “granted” needs an asset."),
        ({"authenticators": None}, "Without an authenticator nobody could use a route"),
        ({"rewrite": "/v2{rest}", "strip_prefix": "on"}, "Choose either a rewrite or strip prefix."),
        (
            {
                "header_rules-TOTAL_FORMS": "1",
                "header_rules-0-direction": "request",
                "header_rules-0-operation": "set",
                "header_rules-0-name": "X-User-Id",
            },
            "X-User-Id is set by the gateway itself",
        ),
    ],
)
def test_a_mistake_is_named_on_the_page(
    admin: AdminClient, route: Route, changes: dict[str, object], message: str
) -> None:
    before = current_revision()
    response = admin.submit(f"{ROUTES}{route.pk}/change/", **changes)
    assert response.status_code == 200
    assert message in errors_of(response)
    assert current_revision() == before


def test_a_method_beyond_the_usual_ones_survives_an_edit(admin: AdminClient, route: Route) -> None:
    route.methods = ["GET", "PROPFIND"]
    route.save()
    response = admin.submit(f"{ROUTES}{route.pk}/change/", description="Orders")
    assert response.status_code == 302, errors_of(response)
    route.refresh_from_db()
    assert (route.methods, route.description) == (["GET", "PROPFIND"], "Orders")


def test_a_route_is_copied_with_save_as_new(admin: AdminClient, route: Route) -> None:
    RateLimit.objects.create(route=route, limit=5)
    form = admin.form(f"{ROUTES}{route.pk}/change/")
    form |= {"name": ["copy"], "path": ["/copy"], "_saveasnew": ["1"]}
    assert admin.post(f"{ROUTES}{route.pk}/change/", form).status_code == 302
    assert Route.objects.get(name="copy").rate_limits.get().limit == 5
    assert Route.objects.count() == 2


def test_routes_are_switched_together_and_that_is_one_revision(admin: AdminClient, route: Route) -> None:
    other = Route.objects.create(name="other", service=route.service, path="/other", access="public")
    before = current_revision()
    admin.post(ROUTES, {"action": "disable", "_selected_action": [route.pk, other.pk]})
    assert not Route.objects.filter(enabled=True).exists()
    assert current_revision() == before + 1
    assert route.history.latest().history_user == admin.principal


def test_a_service_behind_a_route_is_protected_in_words(admin: AdminClient, route: Route) -> None:
    path = f"/admin/routing/service/{route.service.pk}/delete/"
    assert "would require deleting the following protected related objects" in admin.page(path)
    admin.post(path, {"post": "yes"})
    assert Service.objects.exists()


def test_targets_are_edited_with_their_service(admin: AdminClient, service: Service) -> None:
    path = f"/admin/routing/service/{service.pk}/change/"
    added = {"targets-TOTAL_FORMS": "2", "targets-1-url": "ftp://x", "targets-1-weight": "2"}
    assert "A target's URL starts with http:// or https://." in errors_of(admin.submit(path, **added))
    added["targets-1-url"] = "https://b.example.com"
    assert admin.submit(path, **added).status_code == 302
    assert dict(service.targets.values_list("url", "weight")) == {
        "http://127.0.0.1:9001": 1,
        "https://b.example.com": 2,
    }


def test_the_settings_are_one_page_that_is_there_before_its_row(admin: AdminClient) -> None:
    assert admin.get("/admin/routing/gatewaysettings/").url.endswith("/1/change/")
    path = "/admin/routing/gatewaysettings/1/change/"
    assert "'10.0.0.1/8' is not a network" in errors_of(admin.submit(path, trusted_proxies="10.0.0.1/8"))
    assert admin.submit(path, trusted_proxies="10.0.0.0/8, ::1/128").status_code == 302
    assert GatewaySettings.objects.get().trusted_proxies == ["10.0.0.0/8", "::1/128"]
    assert admin.submit(path, cors_origins="https://app.example.com").status_code == 302
    assert GatewaySettings.objects.get().cors_origins == ["https://app.example.com"]
    assert admin.get("/admin/routing/gatewaysettings/add/").status_code == 403
    assert admin.get("/admin/routing/gatewaysettings/1/delete/").status_code == 403


def test_workers_are_marked_when_they_lag_or_fall_silent(admin: AdminClient, route: Route) -> None:
    now, newest = timezone.now(), current_revision()
    states = {
        "current": (newest, now),
        "behind": (newest - 1, now),
        "stale": (newest, now - timedelta(minutes=1)),
    }
    for pid, (node, (revision, seen_at)) in enumerate(states.items()):
        Worker.objects.create(
            node=f"is-{node}", pid=pid, role="all", revision=revision, started_at=now, seen_at=seen_at
        )
    rows = admin.page("/admin/routing/worker/").split('class="field-node')[1:]
    assert len(rows) == 3
    for row in rows:
        node = next(name for name in states if f"is-{name}" in row)
        shown = [state for state in states if state in row.replace(f"is-{node}", "")]
        assert shown == [node]


def test_workers_show_how_many_audit_records_they_dropped(admin: AdminClient) -> None:
    now = timezone.now()
    for node, dropped in (("lossy", 4711), ("sound", 0)):
        Worker.objects.create(
            node=node, pid=1, role="all", audit_dropped=dropped, started_at=now, seen_at=now
        )
    page = admin.page("/admin/routing/worker/")
    assert "audit records dropped" in page.lower()
    shown = re.findall(r'class="field-dropped.*?</td>', page, re.DOTALL)
    assert [re.sub("<[^>]+>", "", cell).split()[-1] for cell in shown] == ["4711", "0"]


def test_workers_can_only_be_looked_at(admin: AdminClient) -> None:
    now = timezone.now()
    worker = Worker.objects.create(node="host", pid=1, role="all", started_at=now, seen_at=now)
    assert admin.get("/admin/routing/worker/add/").status_code == 403
    assert admin.get(f"/admin/routing/worker/{worker.pk}/delete/").status_code == 403
    assert admin.post(f"/admin/routing/worker/{worker.pk}/change/", {"node": "x"}).status_code == 403


def test_a_second_rule_for_a_header_in_another_case_is_refused(admin: AdminClient, route: Route) -> None:
    HeaderRule.objects.create(route=route, name="X-Stage", value="a")
    response = admin.submit(
        f"{ROUTES}{route.pk}/change/",
        **{
            "header_rules-TOTAL_FORMS": "2",
            "header_rules-1-direction": "request",
            "header_rules-1-operation": "remove",
            "header_rules-1-name": "x-stage",
        },
    )
    assert "This route has a rule for that header already." in errors_of(response)
    assert HeaderRule.objects.count() == 1
