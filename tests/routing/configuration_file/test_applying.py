import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from accounts.keys import import_key, issue_key
from accounts.models import ApiKey, Asset, Change, Grant, Membership, Principal, Role
from accounts.revisions import current_revision
from routing.configuration_file.applying import apply_file, plan_file
from routing.configuration_file.problems import InvalidConfiguration
from routing.configuration_file.unenforced import UNENFORCED, unenforced_in
from routing.models import GatewaySettings, HeaderRule, RateLimit, Route, Service, Target
from tests.routing.configuration_file.documents import EVERYTHING, minimal

pytestmark = pytest.mark.django_db


def apply(document: dict[str, Any] | str, **options: Any) -> Any:
    text = document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False)
    return apply_file(text.encode(), **options)


def problems_of(document: dict[str, Any] | str, **options: Any) -> list[str]:
    before = (current_revision(), Route.objects.count(), Principal.objects.count())
    with pytest.raises(InvalidConfiguration) as raised:
        apply(document, **options)
    assert (current_revision(), Route.objects.count(), Principal.objects.count()) == before
    return [problem.located("f") for problem in raised.value.problems]


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


# --- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, problem",
    [
        pytest.param("[]", "f:1: expected a mapping, found a list", id="not a mapping"),
        pytest.param("a: 1", "f:1: version: this key is required", id="no version"),
        pytest.param("version: 2", "f:1: version: this Gatehouse reads version 1", id="another version"),
        pytest.param("version: 1\nroute: []", "f:2: route: unknown key; did you mean routes?", id="section"),
        pytest.param(
            "version: 1\nroles:\n- name: r\n  permisions: []",
            "f:4: roles[0].permisions: unknown key; did you mean permissions?",
            id="unknown key",
        ),
        pytest.param(
            "version: 1\nservices:\n- name: s\n  timeouts:\n    connect: soon",
            "f:5: services[0].timeouts.connect: expected number, found text",
            id="wrong type within",
        ),
        pytest.param(
            "version: 1\nroles: [{name: 7}]",
            "f:2: roles[0].name: expected text, found integer; put it in quotes",
            id="integer for a name",
        ),
        pytest.param(
            "version: 1\nroles: [{name: a}, {name: b}, {name: a}]",
            "f:2: roles[2].name: the role a stands in line 2 already",
            id="name twice",
        ),
        pytest.param(
            "version: 1\nroles: [{name: a, permissions: ['x:y', 'x:y']}]",
            "f:2: roles[0].permissions[1]: 'x:y' is listed twice",
            id="item twice",
        ),
        pytest.param(
            "version: 1\nroles: [{name: a, permissions: [all]}]",
            "f:2: roles[0].permissions: 'all' is not of the form resource:action",
            id="permission",
        ),
        pytest.param(
            "version: 1\nroles: [{name: a, rate_limit: {limit: -1}}]",
            "f:2: roles[0].rate_limit.limit: Ensure this value is greater than or equal to 0",
            id="negative limit",
        ),
        pytest.param(
            "version: 1\nprincipals: [{name: a, roles: [engineeer]}]",
            "f:2: principals[0].roles: no role is named 'engineeer'; did you mean 'engineer'?",
            id="dangling role",
        ),
        pytest.param(
            "version: 1\nprincipals: [{name: a, kind: robot}]",
            "f:2: principals[0].kind: Value 'robot' is not a valid choice. Choose from: user, service",
            id="kind",
        ),
        pytest.param(
            "version: 1\nprincipals:\n- name: a\n  members: [a]",
            "f:4: principals[0].members: only a group has members",
            id="members of a user",
        ),
        pytest.param(
            "version: 1\nprincipals:\n- {name: a, kind: group, members: [b]}\n"
            "- {name: b, kind: group, members: [a]}",
            "f:3: principals[0].members: groups in a circle: a holds b holds a",
            id="circle",
        ),
        pytest.param(
            "version: 1\nprincipals:\n- {name: a, kind: group, members: [a]}",
            "f:3: principals[0].members: groups in a circle: a holds a",
            id="member of itself",
        ),
        pytest.param(
            "version: 1\nprincipals:\n- {name: a, kind: group, api_keys: [{name: k, secret: 0123456789abcdefg}]}",
            "f:3: principals[0].api_keys: a group can't hold API keys",
            id="group with a key",
        ),
        pytest.param(
            "version: 1\nprincipals:\n- name: a\n  api_keys:\n  - {name: k, secret: short}",
            "f:5: principals[0].api_keys[0].secret: a key needs 16 to 512 characters, this has 5",
            id="weak key",
        ),
        pytest.param(
            "version: 1\nprincipals:\n- name: a\n  api_keys:\n  - {name: k}",
            "f:5: principals[0].api_keys[0].name: give either `secret` or `digest`",
            id="key without a secret",
        ),
        pytest.param(
            "version: 1\nprincipals:\n- name: a\n  api_keys:\n  - {name: k, digest: 'hmac-sha256:zz'}",
            "f:5: principals[0].api_keys[0].digest: a digest is hmac-sha256: and 64 hexadecimal digits",
            id="digest",
        ),
        pytest.param(
            "version: 1\nprincipals:\n- name: a\n  api_keys:\n"
            "  - {name: k, secret: 0123456789abcdefg}\n  - {name: l, secret: 0123456789abcdefg}",
            "f:6: principals[0].api_keys[1].name: the same key stands in line 5 already",
            id="same key twice",
        ),
        pytest.param(
            "version: 1\nprincipals: [{name: a, attributes: {since: 2026-01-01}}]",
            "f:2: principals[0].attributes.since: expected text, found a time",
            id="time in attributes",
        ),
        pytest.param(
            "version: 1\ngrants: [{principal: nobody, asset: nothing, actions: [read]}]",
            "f:2: grants[0].asset: no asset is named 'nothing'",
            id="dangling grant",
        ),
        pytest.param(
            "version: 1\nprincipals: [{name: p}]\nassets: [{name: s}]\n"
            "grants: [{principal: p, asset: s, actions: [fly]}]",
            "f:4: grants[0].actions: 'fly' is not an action; choose from: read, write, delete, *",
            id="action",
        ),
        pytest.param(
            "version: 1\nservices:\n- name: s\n  targets:\n  - url: ftp://x",
            "f:5: services[0].targets[0].url: A target's URL starts with http:// or https://.",
            id="target",
        ),
        pytest.param(
            "version: 1\nroutes: [{name: r, service: s, path: /x}]",
            "f:2: routes[0].asset: a route with access granted needs an asset",
            id="granted without an asset",
        ),
        pytest.param(
            "version: 1\nservices: [{name: s}]\nroutes:\n- {name: r, service: s, path: /admin/x, access: public}",
            "f:4: routes[0].path: /admin belongs to the gateway itself",
            id="path of the control plane",
        ),
        pytest.param(
            "version: 1\nservices: [{name: s}]\nroutes:\n- name: r\n  service: s\n  path: /x\n"
            "  access: public\n  headers:\n    request:\n      set: {X-User-Id: me}",
            "f:10: routes[0].headers.request.set.X-User-Id: X-User-Id is set by the gateway itself",
            id="reserved header",
        ),
        pytest.param(
            "version: 1\nservices: [{name: s}]\nroutes:\n- name: r\n  service: s\n  path: /x\n"
            "  access: public\n  headers: {request: {set: {X-A: b}, remove: [x-a]}}",
            "f:8: routes[0].headers.request.remove: x-a is named twice",
            id="header set and removed",
        ),
        pytest.param(
            "version: 1\nservices: [{name: s}]\nroutes:\n- name: r\n  service: s\n  path: /x\n"
            "  access: public\n  rate_limits: [{limit: 1, per: ip}, {limit: 2, per: ip}]",
            "f:8: routes[0].rate_limits[1].per: the rate limit ip, 60 stands in line 8 already",
            id="rate limit twice",
        ),
        pytest.param(
            "version: 1\nsettings: {trusted_proxies: [10.0.0.1/8]}",
            "f:2: settings.trusted_proxies: '10.0.0.1/8' is not a network in CIDR form",
            id="network",
        ),
    ],
)
def test_a_mistake_is_named_with_line_and_key_and_nothing_is_written(text: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in problems_of(text)), problems_of(text)


def test_all_mistakes_are_reported_at_once() -> None:
    problems = problems_of(
        "version: 1\n"
        "roles: [{name: 'a b', colour: red}]\n"
        "principals: [{name: p, kind: robot, roles: [none]}]\n"
        "services: [{name: s, retries: 9, targets: [{url: nowhere, weight: x}]}]\n"
        "routes: [{name: r, service: z, path: x, access: public, methods: [get]}]\n"
    )
    keys = [problem.split(": ")[1] for problem in problems]
    assert keys == [
        "roles[0].colour",
        "roles[0].name",
        "principals[0].kind",
        "principals[0].roles",
        "services[0].retries",
        "services[0].targets[0].url",
        "services[0].targets[0].weight",
        "routes[0].methods",
        "routes[0].path",
        "routes[0].service",
    ]


def test_a_key_of_somebody_else_is_refused() -> None:
    import_key(Principal.objects.create(name="bob"), "stolen", "0123456789abcdefg")
    document = {"name": "alice", "api_keys": [{"name": "k", "secret": "0123456789abcdefg"}]}
    problems = problems_of({"version": 1, "principals": [document]})
    assert re.fullmatch(
        r"f:\d+: principals\[0\]\.api_keys\[0\]\.name: this key is stored already, as stolen \(\w+\) of bob",
        problems[0],
    )


def test_an_administrator_can_not_be_made_a_group() -> None:
    Principal.objects.create_superuser("admin", "a password of some length")
    problems = problems_of({"version": 1, "principals": [{"name": "admin", "kind": "group"}]})
    assert problems == [
        "f:4: principals[0].kind: admin may sign in to the admin and so has to stay a user",
    ]


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
