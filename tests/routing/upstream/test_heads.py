"""What goes up and what comes down: every line of both heads is the gateway's own choice."""

from typing import Any

import pytest

from accounts.identity import Identity
from routing.upstream.connection import Response
from routing.upstream.request_head import request_head, upstream_target
from routing.upstream.response_head import response_head
from tests.routing.rows import compiled, route_row, service_row
from tests.routing.upstream.client import exchange

ALICE = Identity(7, "alice", "user", roles=("a", "b"), permissions=frozenset({"y:*", "x:read"}))

TARGETS: dict[str, Any] = {
    "plain": ({}, "/api/orders/7", "/api/orders/7"),
    "stripped": ({"strip_prefix": True}, "/api/orders/7", "/7"),
    "stripped-to-nothing": ({"strip_prefix": True}, "/api/orders", "/"),
    "stripped-to-a-slash": ({"strip_prefix": True}, "/api/orders/", "/"),
    "stripped-encoded": ({"strip_prefix": True}, "/api/orders/a%2Fb/c", "/a%2Fb/c"),
    "rewritten": ({"rewrite": "/v2{rest}"}, "/api/orders/7", "/v2/7"),
    "rewritten-whole": ({"rewrite": "/fixed"}, "/api/orders/7", "/fixed"),
    "rewritten-rest-alone": ({"rewrite": "{rest}"}, "/api/orders/7/8", "/7/8"),
    "rewritten-empty-rest": ({"rewrite": "/v2{rest}"}, "/api/orders", "/v2"),
}


@pytest.mark.parametrize("fields, path, target", TARGETS.values(), ids=TARGETS.keys())
def test_upstream_target_is_the_canonical_one_or_its_rewrite(fields: Any, path: str, target: str) -> None:
    route = compiled(route_row("r", "/api/orders", **fields))
    assert upstream_target(exchange(path=path.encode()), route) == target.encode()
    asked = exchange(path=path.encode(), query=b"a=1")
    assert upstream_target(asked, route) == target.encode() + b"?a=1"


def lines(route: Any, asked: Any) -> list[bytes]:
    head = request_head(asked, route, route.service.targets[0])
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_request_head_has_each_fact_once() -> None:
    route = compiled(route_row("r", "/x"), service_row(1, "http://up.test:81"))
    asked = exchange("POST", headers=[(b"accept", b"*/*")], content_length=5, identity=ALICE)
    assert lines(route, asked) == [
        b"POST /x HTTP/1.1",
        b"host: up.test:81",
        b"accept: */*",
        b"x-forwarded-for: 192.0.2.7",
        b"x-forwarded-proto: http",
        b"x-forwarded-host: gateway.test",
        b"x-real-ip: 192.0.2.7",
        b"x-request-id: request-1",
        b"x-trace-id: 01234567-89ab-cdef-0123-456789abcdef",
        b"traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
        b"x-internal-service: gatehouse",
        b"content-length: 5",
        b"x-user-id: 7",
        b"x-user-name: alice",
        b"x-user-kind: user",
        b"x-user-roles: a,b",
        b"x-user-permissions: x:read,y:*",
    ]


@pytest.mark.parametrize("mode", ["none", "forward", "jwt"])
def test_identity_headers_are_for_services_that_want_them(mode: str) -> None:
    route = compiled(route_row("r", "/x"), service_row(1, identity=mode))
    assert not [line for line in lines(route, exchange(identity=ALICE)) if line.startswith(b"x-user-")]


def test_route_sets_and_removes_request_headers() -> None:
    rules = [
        {"direction": "request", "operation": "set", "name": "Accept", "value": "text/plain"},
        {"direction": "request", "operation": "remove", "name": "X-Old", "value": ""},
    ]
    route = compiled(route_row("r", "/x", header_rules=rules))
    asked = exchange(headers=[(b"accept", b"*/*"), (b"x-old", b"1"), (b"x-new", b"2")])
    sent = [line for line in lines(route, asked) if line.startswith((b"accept", b"x-old", b"x-new"))]
    assert sent == [b"x-new: 2", b"accept: text/plain"]


def answered(*headers: tuple[bytes, bytes], status: int = 200, **fields: Any) -> Response:
    response = Response(status, list(headers))
    for name, value in fields.items():
        setattr(response, name, value)
    return response


def sent_down(response: Response, length: int | None = 2, method: str = "GET", **route: Any) -> Any:
    made = compiled(route_row("r", "/x", **{"security_headers": False, **route}))
    message = response_head(exchange(method), made, response, length)
    assert message["status"] == response.status
    return message["headers"][2:]  # behind the ids


@pytest.mark.parametrize(
    "name",
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade content-length".split()
    + b"x-request-id x-trace-id proxy-authenticate".split(),
)
def test_upstream_header_that_stays(name: bytes) -> None:
    assert sent_down(answered((name, b"1"), (b"x-a", b"1"))) == [(b"x-a", b"1"), (b"content-length", b"2")]


def test_fields_named_in_the_upstreams_connection_stay() -> None:
    response = answered((b"x-a", b"1"), (b"x-b", b"1"), connection=b"close, X-A")
    assert sent_down(response) == [(b"x-b", b"1"), (b"content-length", b"2")]


@pytest.mark.parametrize(
    "cookie, passes",
    [
        (b"a=1; Path=/", True),
        (b"gatehouse_session=x", False),
        (b"  gatehouse_csrf=x; Path=/admin", False),
        (b"x=gatehouse_session", True),
    ],
)
def test_upstream_sets_no_cookie_of_the_admin(cookie: bytes, passes: bool) -> None:
    sent = sent_down(answered((b"set-cookie", cookie)), None)
    assert sent == ([(b"set-cookie", cookie)] if passes else [])


LENGTHS: dict[str, Any] = {
    "whole": ("GET", 200, None, 2, b"2"),
    "streamed-with-length": ("GET", 200, 99, None, b"99"),
    "streamed-without": ("GET", 200, None, None, None),
    "head": ("HEAD", 200, 99, 0, b"99"),
    "head-without": ("HEAD", 200, None, 0, None),
    "304": ("GET", 304, 99, 0, b"99"),
    "204": ("GET", 204, None, 0, None),
    "204-with-length": ("GET", 204, 5, 0, None),
    "empty": ("GET", 200, 0, 0, b"0"),
}


@pytest.mark.parametrize("method, status, told, length, sent", LENGTHS.values(), ids=LENGTHS.keys())
def test_length_is_what_a_client_will_get(
    method: str, status: int, told: int | None, length: int | None, sent: bytes | None
) -> None:
    headers = sent_down(answered(status=status, content_length=told), length, method)
    assert headers == ([] if sent is None else [(b"content-length", sent)])


def test_security_headers_replace_the_upstreams() -> None:
    sent = sent_down(answered((b"x-frame-options", b"ALLOWALL"), (b"x-a", b"1")), security_headers=True)
    assert [value for name, value in sent if name == b"x-frame-options"] == [b"DENY"]
