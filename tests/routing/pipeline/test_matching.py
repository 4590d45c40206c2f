"""Which route a request takes; among others, checked against a reference that tries every route in turn."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.pipeline.errors import MethodNotAllowed, RouteNotFound
from routing.pipeline.matching import RouteIndex, match_route, without_port
from routing.snapshot import CompiledRoute
from tests.routing.rows import route_row, snapshot_of


def routes(*each: tuple[str, dict[str, Any]]) -> RouteIndex:
    """Routes named by what is before the space: 'name /path'."""
    made = [route_row(*text.split(" "), **fields) for text, fields in each]
    snapshot = snapshot_of(*made)
    assert snapshot.problems == ()
    return snapshot.index


def match(index: RouteIndex, target: str, method: str = "GET", host: str = "any.test") -> str:
    """The route's name, 404, or 405 with the methods that are served."""
    try:
        return match_route(index, host, method, target.encode()).name
    except RouteNotFound:
        return "404"
    except MethodNotAllowed as refused:
        return f"405 {','.join(refused.allow)}"


PATHS = {
    "exact": ("/orders", "orders"),
    "below": ("/orders/7/lines", "orders"),
    "trailing-slash": ("/orders/", "orders"),
    "segment-boundary": ("/orders-admin", "404"),
    "longer-name": ("/ordersx/1", "404"),
    "shorter": ("/order", "404"),
    "case": ("/Orders", "404"),
    "above": ("/", "404"),
    "longer-wins": ("/orders/special/1", "special"),
    "longer-only-on-its-boundary": ("/orders/special1", "orders"),
    "parameter": ("/users/7", "user"),
    "parameter-below": ("/users/7/photo", "user"),
    "parameter-needs-a-value": ("/users/", "404"),
    "parameter-missing": ("/users", "404"),
    "parameter-then-literal": ("/users/7/orders/1", "user-orders"),
    "literal-before-parameter": ("/users/me", "me"),
    "literal-before-parameter-below": ("/users/me/photo", "me"),
    "longer-through-parameter-before-literal": ("/users/me/orders", "user-orders"),
    "encoded-slash-is-no-boundary": ("/orders%2Fspecial", "404"),
}


@pytest.mark.parametrize("target, name", PATHS.values(), ids=PATHS.keys())
def test_longest_and_most_exact_path_wins(target: str, name: str) -> None:
    index = routes(
        ("orders /orders", {}),
        ("special /orders/special", {}),
        ("user /users/{id}", {}),
        ("me /users/me", {}),
        ("user-orders /users/{id}/orders", {}),
    )
    assert match(index, target) == name


def test_route_at_the_root_takes_what_no_other_takes() -> None:
    index = routes(("all /", {}), ("orders /orders", {}))
    assert [match(index, target) for target in ("/", "/x", "/orders", "/ordersx")] == [
        "all",
        "all",
        "orders",
        "all",
    ]


HOSTS = {
    "exact": ("api.example.com", "exact"),
    "port": ("api.example.com:8443", "exact"),
    "final-dot": ("api.example.com.", "exact"),
    "final-dot-and-port": ("api.example.com.:80", "exact"),
    "wildcard": ("x.example.com", "wildcard"),
    "wildcard-two-levels": ("x.y.example.com", "wildcard"),
    "longer-wildcard": ("x.deep.example.com", "deep"),
    "wildcard-is-not-the-name-itself": ("example.com", "any"),
    "suffix-is-no-label": ("evilexample.com", "any"),
    "other": ("other.test", "any"),
    "ipv6": ("[::1]:8000", "six"),
    "ipv6-other": ("[::2]", "any"),
}


@pytest.mark.parametrize("host, name", HOSTS.values(), ids=HOSTS.keys())
def test_most_exact_host_wins(host: str, name: str) -> None:
    index = routes(
        ("any /x", {}),
        ("exact /x", {"hosts": ["api.example.com"]}),
        ("wildcard /x", {"hosts": ["*.example.com"]}),
        ("deep /x", {"hosts": ["*.deep.example.com"]}),
        ("six /x", {"hosts": ["[::1]"]}),
    )
    assert match(index, "/x", host=host) == name


def test_exact_host_with_a_shorter_path_wins_over_any_host() -> None:
    index = routes(("here /", {"hosts": ["a.test"]}), ("anywhere /orders/special", {}))
    assert match(index, "/orders/special", host="a.test") == "here"
    assert match(index, "/orders/special", host="b.test") == "anywhere"


def test_host_without_a_route_for_the_path_falls_back() -> None:
    index = routes(("here /here", {"hosts": ["a.test"]}), ("anywhere /orders", {}))
    assert match(index, "/orders", host="a.test") == "anywhere"


METHODS = {
    "own": ("/x", "POST", "post"),
    "get": ("/x", "GET", "get"),
    "head-comes-with-get": ("/x", "HEAD", "get"),
    "neither": ("/x", "DELETE", "405 GET,HEAD,POST"),
    "unknown": ("/x", "BREW", "405 GET,HEAD,POST"),
    "no-way-around-through-a-shorter-path": ("/x/y", "DELETE", "405 PUT"),
    "no-way-around-through-a-parameter": ("/users/me", "POST", "405 GET,HEAD"),
    "parameter-has-its-own": ("/users/7", "POST", "user"),
}


@pytest.mark.parametrize("target, method, name", METHODS.values(), ids=METHODS.keys())
def test_method_decides_among_equally_exact_paths_only(target: str, method: str, name: str) -> None:
    index = routes(
        ("all /", {}),
        ("get /x", {"methods": ["GET"]}),
        ("post /x", {"methods": ["POST"]}),
        ("put /x/y", {"methods": ["PUT"]}),
        ("me /users/me", {"methods": ["GET"]}),
        ("user /users/{id}", {}),
    )
    assert match(index, target, method) == name


def test_priority_then_name_breaks_a_tie() -> None:
    index = routes(("b /x", {}), ("a /x", {}), ("c /x", {"priority": 1}), ("d /x", {"priority": -1}))
    assert match(index, "/x") == "c"
    assert match(routes(("b /x", {}), ("a /x", {})), "/x") == "a"
    # Only between equals: never past a longer path.
    assert match(routes(("a /x", {"priority": 99}), ("b /x/y", {})), "/x/y/z") == "b"


def test_parameters_of_different_names_are_equally_exact() -> None:
    index = routes(("a /u/{id}", {"methods": ["GET"]}), ("b /u/{name}", {"methods": ["POST"]}))
    assert (match(index, "/u/1"), match(index, "/u/1", "POST")) == ("a", "b")


def test_ten_thousand_routes_are_each_found() -> None:
    names = [f"r{number}" for number in range(10_000)]
    index = snapshot_of(*(route_row(name, f"/api/{name}/{{id}}/items") for name in names)).index
    for name in random.Random(1).sample(names, 500):
        assert match(index, f"/api/{name}/7/items/8") == name
    assert match(index, "/api/r10000/7/items") == "404"


@pytest.mark.parametrize(
    "host, bare",
    [
        ("a.test", "a.test"),
        ("a.test:80", "a.test"),
        ("a.test.", "a.test"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
    ],
)
def test_port_and_final_dot_are_no_part_of_a_host(host: str, bare: str) -> None:
    assert without_port(host) == bare


# --- the reference ------------------------------------------------------------------------


def reference(table: list[CompiledRoute], host: str, method: str, path: bytes) -> str:
    """Try every route: the rules of matching.py's first sentence, without an index."""
    segments = path.split(b"/")[1:]

    def covers(route: CompiledRoute) -> bool:
        return len(route.segments) <= len(segments) and all(
            bool(given) if wanted is None else given == wanted
            for wanted, given in zip(route.segments, segments, strict=False)
        )

    def host_rank(pattern: str) -> int:
        if not pattern:
            return 0
        if pattern.startswith("*."):
            return len(pattern) if host.endswith(pattern[1:]) else -1
        return 10_000 if host == pattern else -1

    ranked = [
        (host_rank(pattern), route) for route in table for pattern in route.hosts or ("",) if covers(route)
    ]
    ranked = [(rank, route) for rank, route in ranked if rank >= 0]
    if not ranked:
        return "404"
    best_host = max(rank for rank, _ in ranked)
    found = [route for rank, route in ranked if rank == best_host]
    longest = max(len(route.segments) for route in found)
    found = [route for route in found if len(route.segments) == longest]
    exactness = min(tuple(segment is None for segment in route.segments) for route in found)
    found = [route for route in found if tuple(segment is None for segment in route.segments) == exactness]
    served = [route for route in found if route.methods is None or method in route.methods]
    if not served:
        return f"405 {','.join(sorted({name for route in found for name in route.methods or ()}))}"
    return min(served, key=lambda route: (-route.priority, route.name)).name


SEGMENTS = st.sampled_from(["a", "b", "c", "{p}"])
ROUTE = st.tuples(
    st.lists(SEGMENTS, max_size=4),
    st.lists(st.sampled_from(["h.test", "x.h.test", "*.h.test", "*.x.h.test"]), max_size=2, unique=True),
    st.lists(st.sampled_from(["GET", "POST", "PUT"]), max_size=2, unique=True),
    st.integers(-1, 1),
)
REQUEST = st.tuples(
    st.lists(st.sampled_from(["a", "b", "c", "d", ""]), min_size=1, max_size=5),
    st.sampled_from(["h.test", "x.h.test", "y.h.test", "z.x.h.test", "other.test"]),
    st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(ROUTE, max_size=12), st.lists(REQUEST, min_size=1, max_size=12))
def test_matching_agrees_with_trying_every_route(table: Any, requests: Any) -> None:
    made = []
    for number, (segments, hosts, methods, priority) in enumerate(table):
        # {p} may stand once in a path that an administrator saves; the index does not mind.
        path = "/" + "/".join(segments)
        made.append(route_row(f"r{number}", path, hosts=hosts, methods=methods, priority=priority))
    snapshot = snapshot_of(*made)
    assert snapshot.problems == ()
    for segments, host, method in requests:
        path = ("/" + "/".join(segments)).encode()
        assert match(snapshot.index, path.decode(), method, host) == reference(
            list(snapshot.routes), host, method, path
        )
