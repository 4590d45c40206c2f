"""What a file may not say: every mistake is named with its line and key, and nothing is written."""

import re

import pytest

from accounts.keys import import_key
from accounts.models import Principal
from tests.routing.configuration_file.documents import problems_of

pytestmark = pytest.mark.django_db


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
