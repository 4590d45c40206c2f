"""Which pages may open a WebSocket."""

from dataclasses import replace

import pytest

from routing.pipeline.errors import OriginNotAllowed
from routing.pipeline.exchange import Exchange
from routing.pipeline.origin import check_origin
from routing.relay.options import WebSocketOptions
from routing.snapshot import CompiledRoute, Rows, compile_snapshot


def is_allowed(origin: bytes | None, host: str, *allowed: str) -> bool:
    row = compile_snapshot(Rows(routes=[{"path": "/x", "name": "x"}])).routes[0]
    route: CompiledRoute = replace(
        row, websocket_options=WebSocketOptions(allowed_origins=frozenset(allowed))
    )
    exchange = Exchange("GET", b"/x", b"")
    exchange.host, exchange.origin = host, origin
    try:
        check_origin(exchange, route)
    except OriginNotAllowed:
        return False
    return True


@pytest.mark.parametrize(
    "origin, host, allowed",
    [
        pytest.param(None, "api.test", (), id="no browser"),
        pytest.param(b"http://api.test", "api.test", (), id="same host"),
        pytest.param(b"https://api.test", "api.test", (), id="tls ends before us"),
        pytest.param(b"https://api.test", "api.test:443", (), id="default port said"),
        pytest.param(b"http://api.test:8000", "api.test:8000", (), id="same port"),
        pytest.param(b"http://[::1]:8000", "[::1]:8000", (), id="IPv6"),
        pytest.param(b"https://app.test", "api.test", ("https://app.test",), id="listed"),
        pytest.param(b"https://any.test", "api.test", ("*",), id="any"),
    ],
)
def test_page_may_open_a_socket(origin: bytes | None, host: str, allowed: tuple[str, ...]) -> None:
    assert is_allowed(origin, host, *allowed)


@pytest.mark.parametrize(
    "origin, host, allowed",
    [
        pytest.param(b"http://evil.test", "api.test", (), id="other host"),
        pytest.param(b"http://api.test:8001", "api.test:8000", (), id="other port"),
        pytest.param(b"http://api.test.evil", "api.test", (), id="longer name"),
        pytest.param(b"http://evil.test/api.test", "api.test", (), id="host as path"),
        pytest.param(b"http://user@api.test", "api.test", (), id="user name"),
        pytest.param(b"null", "api.test", (), id="null"),
        pytest.param(b"", "api.test", (), id="empty"),
        pytest.param(b"file://", "api.test", (), id="file"),
        pytest.param(b"api.test", "api.test", (), id="no scheme"),
        pytest.param(b"http://api.test", "api.test", ("https://app.test",), id="own host not listed"),
        pytest.param(b"https://app.test.evil", "api.test", ("https://app.test",), id="listed and more"),
        pytest.param(b"\xff\xfe", "api.test", (), id="bytes"),
    ],
)
def test_page_may_not_open_a_socket(origin: bytes, host: str, allowed: tuple[str, ...]) -> None:
    assert not is_allowed(origin, host, *allowed)
