"""What a file says becomes the rows, once, in one revision; what it doesn't say stays."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from accounts.keys import issue_key
from accounts.models import ApiKey, Asset, Change, Grant, Membership, Principal, Role
from accounts.revisions import current_revision
from routing.configuration_file.applying import plan_file
from routing.configuration_file.unenforced import UNENFORCED, unenforced_in
from routing.models import GatewaySettings, HeaderRule, RateLimit, Route, Service, Target
from tests.routing.configuration_file.documents import EVERYTHING, apply, minimal, problems_of

pytestmark = pytest.mark.django_db


def test_everything_of_the_format_is_stored() -> None:
    apply(EVERYTHING)
    settings = GatewaySettings.objects.get()
    assert settings.trusted_proxies == ["10.0.0.0/8", "2001:db8::/32"]
    assert settings.cors_origins == ["https://app.example.com"]
    engineer = Role.objects.get(name="engineer")
    assert (engineer.rate_limit, engineer.rate_window) == (200, 30)
    alice = Principal.objects.get(name="alice")
    assert alice.attributes == {"department": "lab", "level": 3, "tags": ["a", {"b": None}]}
    assert set(alice.roles.values_list("name", flat=True)) == {"engineer", "reader"}
    assert not alice.has_usable_password()
    key = alice.api_keys.get(name="laptop")
    assert (key.allowed_cidrs, key.scopes, key.state) == (["192.0.2.0/24"], ["orders:read"], "live")
    assert alice.api_keys.get(name="gone").state == "revoked"
    members = Membership.objects.values_list("group__name", "member__name")
    assert set(members) == {("lab", "alice"), ("lab", "deputies"), ("deputies", "robot")}
    grant = alice.grants.get()
    assert (grant.actions, grant.condition, grant.justification) == (
        ["read", "write"],
        "request.ip.startsWith('10.')",
        "on-call",
    )
    service = Service.objects.get(name="orders")
    assert (service.load_balancing, service.identity, service.retries) == ("least_connections", "jwt", 2)
    assert (service.connect_timeout, service.response_timeout, service.idle_timeout) == (1.5, 10, 30)
    assert (service.health_path, service.unhealthy_after, service.healthy_after) == ("/health", 4, 3)
    assert (service.breaker_failures, service.breaker_open_seconds) == (7, 12.5)
    targets = set(Target.objects.values_list("url", "weight", "enabled"))
    assert targets == {("http://127.0.0.1:9001", 3, True), ("https://b.example.com", 1, False)}
    route = Route.objects.get(name="orders")
    assert (route.service.name, route.asset.name, route.rewrite) == ("orders", "orders", "/v2{rest}")
    assert set(route.required_roles.values_list("name", flat=True)) == {"reader", "engineer"}
    limits = set(RateLimit.objects.values_list("limit", "window", "per", "algorithm"))
    assert limits == {(100, 60, "principal", "token_bucket"), (5, 1, "ip", "sliding_window")}
    headers = set(HeaderRule.objects.values_list("direction", "operation", "name", "value"))
    assert headers == {
        ("request", "set", "X-Stage", "a b"),
        ("request", "remove", "X-Debug", ""),
        ("response", "set", "X-Served-By", "gatehouse"),
        ("response", "remove", "Server", ""),
    }


def test_one_application_is_one_revision_that_names_every_row() -> None:
    before = current_revision()
    apply(EVERYTHING)
    assert current_revision() == before + 1
    kinds = set(Change.objects.filter(revision=before + 1).values_list("kind", flat=True))
    assert {"accounts.Principal", "accounts.ApiKey", "accounts.Role", "routing.Route"} <= kinds
    assert {"routing.Service", "routing.Target", "routing.GatewaySettings"} <= kinds


def test_a_second_application_changes_nothing_and_bumps_no_revision() -> None:
    apply(EVERYTHING)
    before = current_revision()
    histories = Route.history.count() + Principal.history.count() + ApiKey.history.count()
    assert apply(EVERYTHING).changes == []
    assert current_revision() == before
    assert Route.history.count() + Principal.history.count() + ApiKey.history.count() == histories


def test_a_changed_key_changes_one_field_and_is_in_the_history() -> None:
    apply(EVERYTHING)
    plan = apply(EVERYTHING.replace("priority: 5", "priority: 6"), reason="the reason")
    assert [(c.action, c.kind, c.name, c.fields) for c in plan.changes] == [
        ("updated", "route", "orders", (("priority", 5, 6),))
    ]
    record = Route.history.filter(name="orders").latest("history_id")
    assert (record.priority, record.history_type, record.history_change_reason) == (6, "~", "the reason")


def test_the_links_of_a_new_row_are_in_the_history_of_its_creation() -> None:
    apply(EVERYTHING)
    assert [
        (record.history_type, sorted(link.role.name for link in record.roles.all()))
        for record in Principal.history.filter(name="alice")
    ] == [("+", ["engineer", "reader"])]
    route = Route.history.get(name="orders")
    assert sorted(link.role.name for link in route.required_roles.all()) == ["engineer", "reader"]
    apply(edited(("required_roles: [reader, engineer]", "required_roles: [reader]")))
    newest = Route.history.filter(name="orders").latest("history_id")
    changed = newest.diff_against(route).changed_fields
    assert changed == ["required_roles"]


def edited(*edits: tuple[str, str]) -> str:
    text = EVERYTHING
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text


CHANGES: list[Any] = [
    pytest.param(("weight: 3", "weight: 4"), lambda: Target.objects.get(weight=4), id="target's weight"),
    pytest.param(
        ('{url: "http://127.0.0.1:9001", weight: 3}, ', ""),
        lambda: Target.objects.get().url == "https://b.example.com",
        id="target removed",
    ),
    pytest.param(
        ("{limit: 5, window: 1, per: ip}", "{limit: 6, window: 1, per: ip}"),
        lambda: RateLimit.objects.get(per="ip").limit == 6,
        id="rate limit",
    ),
    pytest.param(
        ('set: {X-Stage: "a b"}', 'set: {x-stage: "c"}'),
        lambda: HeaderRule.objects.get(value="c").name == "x-stage",
        id="header in another case",
    ),
    pytest.param(
        ("set: {X-Served-By: gatehouse}, remove: [Server]", "set: {Server: gatehouse}, remove: []"),
        lambda: HeaderRule.objects.get(direction="response").operation == "set",
        id="header set instead of removed",
    ),
    pytest.param(
        ("members: [alice, deputies]", "members: [deputies]"),
        lambda: not Membership.objects.filter(member__name="alice").exists(),
        id="member removed",
    ),
    pytest.param(
        ("roles: [engineer, reader]", "roles: [reader]"),
        lambda: Principal.objects.get(name="alice").roles.get().name == "reader",
        id="role taken away",
    ),
    pytest.param(
        ("required_roles: [reader, engineer]", "required_roles: []"),
        lambda: not Route.objects.get(name="orders").required_roles.exists(),
        id="required roles",
    ),
    pytest.param(
        ("service: bare", "service: orders"),
        lambda: Route.objects.get(name="open").service.name == "orders",
        id="route's service",
    ),
    pytest.param(
        (
            "health_check: {path: /health, interval: 3, timeout: 1, unhealthy_after: 4, healthy_after: 3}",
            "health_check: null",
        ),
        lambda: Service.objects.get(name="orders").health_path == "",
        id="health check taken away",
    ),
    pytest.param(
        ('scopes: ["orders:read"]', "scopes: []"),
        lambda: ApiKey.objects.get(name="laptop").scopes == [],
        id="key's scopes",
    ),
    pytest.param(
        ("imported-key-of-any-form", "imported-key-of-another-form"),
        lambda: ApiKey.objects.filter(name="laptop").count() == 1,
        id="key replaced",
    ),
    pytest.param(
        ("name: laptop", "name: desktop"),
        lambda: ApiKey.objects.get(name="desktop") and not ApiKey.objects.filter(name="laptop"),
        id="key renamed",
    ),
]


@pytest.mark.parametrize("edit, has_happened", CHANGES)
def test_a_change_in_the_file_becomes_a_change_of_the_rows(
    edit: tuple[str, str], has_happened: Callable[[], bool]
) -> None:
    apply(EVERYTHING)
    before = current_revision()
    changed = edited(edit)
    assert len(apply(changed).changes) == 1
    assert has_happened()
    assert current_revision() == before + 1
    assert apply(changed).changes == []


def test_a_condition_taken_away_in_the_file_leaves_no_second_grant() -> None:
    apply(EVERYTHING)
    apply(edited(("\"request.ip.startsWith('10.')\"", "null")))
    assert Grant.objects.get(principal__name="alice").condition == ""
    apply(EVERYTHING)
    assert Grant.objects.get(principal__name="alice").condition


def test_a_secret_never_appears_in_what_is_printed_of_a_plan() -> None:
    plan = apply(EVERYTHING)
    again = plan_file(edited(("imported-key-of-any-form", "imported-key-of-another-form")).encode())
    assert "imported-key" not in f"{plan.changes}{again.changes}"
    digests = [bytes(digest).hex() for digest in ApiKey.objects.values_list("digest", flat=True)]
    assert not any(digest in f"{plan.changes}{again.changes}" for digest in digests)


# --- what stays, and what --prune takes ---------------------------------------------------


def test_what_the_file_does_not_say_leaves_an_administrators_decision_alone() -> None:
    document = minimal(principals=[{"name": "alice", "api_keys": [{"name": "k", "secret": "a" * 20}]}])
    apply(document)
    for model in (Principal, Route):
        row = model.objects.get()
        setattr(row, "is_active" if model is Principal else "enabled", False)
        row.save()
    key = ApiKey.objects.get()
    key.revoked_at = key.created_at
    key.save()
    assert apply(document).changes == []
    assert key.state == "revoked"
    assert not Principal.objects.get().is_active


def test_objects_that_the_file_does_not_name_stay_without_prune() -> None:
    apply(EVERYTHING)
    issue_key(Principal.objects.get(name="alice"), "made-in-the-admin")
    assert apply(minimal(services=[], routes=[])).changes == []
    assert Route.objects.count() == 2
    assert ApiKey.objects.count() == 3


def test_prune_deletes_what_the_given_sections_do_not_name() -> None:
    apply(EVERYTHING)
    Principal.objects.create_superuser("admin", "a password of some length")
    issue_key(Principal.objects.get(name="alice"), "made-in-the-admin")
    document = yaml.safe_load(EVERYTHING)
    alice, _, lab, deputies = document["principals"]
    alice["api_keys"] = alice["api_keys"][:1]
    deputies["members"] = []
    document["principals"] = [alice, lab, deputies]
    document["grants"] = [grant for grant in document["grants"] if grant["actions"] != ["read"]]
    document["services"] = document["services"][:1]
    document["routes"] = document["routes"][:1]
    plan = apply(document, prune=True)
    deleted = {(c.kind, c.name) for c in plan.changes if c.action == "deleted"}
    assert {
        ("route", "open"),
        ("service", "bare"),
        ("principal", "robot"),
        ("grant", "lab on orders"),
        ("API key", "made-in-the-admin of alice"),
        ("API key", "gone of alice"),
        ("role", "admin"),
    } <= deleted
    assert set(Principal.objects.values_list("name", flat=True)) == {"admin", "alice", "lab", "deputies"}
    assert set(Asset.objects.values_list("name", flat=True)) == {"orders", "secrets"}
    assert apply(document, prune=True).changes == []


def test_prune_leaves_sections_alone_that_the_file_does_not_have() -> None:
    apply(EVERYTHING)
    before = (Principal.objects.count(), Grant.objects.count(), ApiKey.objects.count())
    apply({"version": 1, "routes": []}, prune=True)
    assert Route.objects.count() == 0
    assert Service.objects.count() == 2
    assert (Principal.objects.count(), Grant.objects.count(), ApiKey.objects.count()) == before


@pytest.mark.parametrize(
    "section, problem",
    [
        ("roles", "f:2: roles: role reader can't be pruned: route orders needs it"),
        ("services", "f:2: services: service orders can't be pruned: route orders needs it"),
        ("assets", "f:2: assets: asset orders can't be pruned: route orders needs it"),
    ],
)
def test_prune_refuses_to_take_what_a_kept_route_needs(section: str, problem: str) -> None:
    apply(EVERYTHING)
    assert problem in problems_of({"version": 1, section: []}, prune=True)


def test_a_failure_while_writing_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_at_the_routes(rows: list[Any]) -> None:
        if isinstance(rows[0], Route):
            raise RuntimeError("the disk is full")

    before = current_revision()
    monkeypatch.setattr("routing.configuration_file.writing.record_rows", fail_at_the_routes)
    with pytest.raises(RuntimeError, match="the disk is full"):
        apply(EVERYTHING)
    assert not Service.objects.exists()
    assert not Principal.objects.exists()
    assert current_revision() == before


# --- what has no effect yet ---------------------------------------------------------------


def test_what_is_stored_without_effect_is_named_once() -> None:
    assert list(unenforced_in(apply(EVERYTHING).document)) == [item.what for item in UNENFORCED]


def test_a_document_that_uses_nothing_of_that_gets_no_note() -> None:
    assert list(unenforced_in(apply(minimal()).document)) == []
