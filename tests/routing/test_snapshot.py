"""Rows become one snapshot; a broken row spoils its own place and nothing else."""

from typing import Any

import pytest

from routing.pipeline.headers import SECURITY_HEADERS
from routing.snapshot import CompileDefaults, RowBroken, compile_path, compile_snapshot
from tests.routing.rows import compiled, route_row, rows, service_row, snapshot_of

BROKEN: dict[str, dict[str, Any]] = {
    "access": {"access": "everybody"},
    "granted-without-asset": {"access": "granted"},
    "service-gone": {"service_id": 99},
    "path-relative": {"path": "bad"},
    "path-empty-segment": {"path": "/bad//x"},
    "path-not-ascii": {"path": "/bäd"},
    "path-none": {"path": None},
    "hosts-number": {"hosts": 5},
    "hosts-of-numbers": {"hosts": [5]},
    "hosts-none": {"hosts": None},
    "methods-number": {"methods": 5},
    "methods-of-lists": {"methods": [["GET"]]},
    "authenticators-number": {"authenticators": 5},
    "rewrite-not-ascii": {"rewrite": "/ü{rest}"},
    "header-not-ascii": {
        "header_rules": [{"direction": "request", "operation": "set", "name": "X-Ü", "value": "1"}]
    },
    "header-rule-short": {"header_rules": [{"direction": "request"}]},
    "roles-number": {"required_roles": 5},
}


@pytest.mark.parametrize("fields", BROKEN.values(), ids=BROKEN.keys())
def test_broken_route_is_a_problem_of_its_own(fields: dict[str, Any]) -> None:
    snapshot = snapshot_of({**route_row("bad", "/bad"), **fields}, route_row("good", "/good"))
    assert [route.broken != "" for route in snapshot.routes] == [True, False]
    (problem,) = snapshot.problems
    assert problem.startswith("route 'bad': ")


def test_missing_column_is_a_problem_of_its_own() -> None:
    for column in route_row("bad", "/bad"):
        row = route_row("bad", "/bad")
        del row[column]
        snapshot = snapshot_of(row, route_row("good", "/good"))
        assert snapshot.routes[1].broken == ""


@pytest.mark.parametrize(
    "settings",
    [
        {"trusted_proxies": ["10.0.0.0/8", "nonsense", 5]},
        {"trusted_proxies": "10.0.0.0/8"},
        {"trusted_proxies": None},
        {"trusted_proxies": 5},
        {"cors_origins": [5, ["x"]]},
        {"cors_origins": None},
        {"cors_origins": {"x": 1}},
    ],
    ids=str,
)
def test_unreadable_settings_trust_nobody_and_stop_nothing(settings: dict[str, Any]) -> None:
    snapshot = snapshot_of(route_row("good", "/good"), **settings)
    assert [str(network) for network in snapshot.trusted_proxies] in ([], ["10.0.0.0/8"])
    assert snapshot.cors_origins == frozenset()
    assert snapshot.routes[0].broken == ""


@pytest.mark.parametrize(
    "target",
    [
        {"url": "ftp://a.test"},
        {"url": "http://"},
        {"url": "http://a.test:99999"},
        {"url": "http://[::1"},
        {"url": "http://ü.test"},
        {"url": "http://a.test", "weight": 0},
    ],
    ids=str,
)
def test_broken_target_is_left_out_and_named(target: dict[str, Any]) -> None:
    row = service_row(1, "http://good.test")
    row["targets"].append(target)
    snapshot = snapshot_of(route_row("r", "/r"), services=[row])
    assert [each.url for each in snapshot.services[0].targets] == ["http://good.test"]
    assert len(snapshot.problems) == 1


@pytest.mark.parametrize(
    "url, address, authority",
    [
        ("http://a.test", ("http", "a.test", 80), b"a.test"),
        ("https://a.test", ("https", "a.test", 443), b"a.test"),
        ("http://a.test:8080/", ("http", "a.test", 8080), b"a.test:8080"),
        ("http://[2001:db8::1]:81", ("http", "2001:db8::1", 81), b"[2001:db8::1]:81"),
    ],
)
def test_target_is_an_address_and_an_authority(url: str, address: Any, authority: bytes) -> None:
    (target,) = compiled(route_row("r", "/r"), service_row(1, url)).service.targets
    assert (tuple(target.address), target.authority) == (address, authority)


@pytest.mark.parametrize(
    "path, segments",
    [
        ("/", ()),
        ("/a", (b"a",)),
        ("/a/{id}/b", (b"a", None, b"b")),
        ("/{a}/{b}", (None, None)),
        ("/a{id}", (b"a{id}",)),
    ],
)
def test_path_is_compiled_to_segments(path: str, segments: Any) -> None:
    assert compile_path(path) == segments


@pytest.mark.parametrize("path", ["", "a", "/a/", "//", "/a//b", "/ä"])
def test_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises((RowBroken, UnicodeEncodeError)):
        compile_path(path)


def test_head_comes_with_get_and_no_method_is_every_method() -> None:
    assert compiled(route_row("r", "/r", methods=["GET"])).methods == {"GET", "HEAD"}
    assert compiled(route_row("r", "/r", methods=["POST"])).methods == {"POST"}
    assert compiled(route_row("r", "/r")).methods is None


def test_header_rules_replace_and_security_headers_yield_to_them() -> None:
    rules = [
        {"direction": "response", "operation": "set", "name": "X-Frame-Options", "value": "SAMEORIGIN"},
        {"direction": "response", "operation": "remove", "name": "X-Powered-By", "value": ""},
        {"direction": "request", "operation": "set", "name": "X-Tenant", "value": "a"},
        {"direction": "request", "operation": "remove", "name": "Accept-Language", "value": ""},
    ]
    route = compiled(route_row("r", "/r", header_rules=rules))
    assert route.request_set == ((b"x-tenant", b"a"),)
    assert route.request_drop == {b"x-tenant", b"accept-language"}
    written = dict(route.response_set)
    assert written[b"x-frame-options"] == b"SAMEORIGIN"
    assert set(written) == {name for name, _ in SECURITY_HEADERS}
    assert {b"x-powered-by", b"x-frame-options", b"connection", b"content-length"} <= route.response_drop
    bare = compiled(route_row("r", "/r", security_headers=False))
    assert bare.response_set == ()


def test_settings_of_the_process_fill_what_rows_leave_open() -> None:
    made = rows(route_row("a", "/a"), route_row("b", "/b", max_body_bytes=0), cors_origins=["https://a.test"])
    snapshot = compile_snapshot(made, CompileDefaults(77, 3.5, ("https://b.test",)))
    assert [route.max_body_bytes for route in snapshot.routes] == [77, 0]
    assert snapshot.services[0].response_timeout == 3.5
    assert snapshot.cors_origins == {"https://a.test", "https://b.test"}
