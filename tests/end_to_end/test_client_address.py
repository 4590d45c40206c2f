"""Rule 5: the client's address, as far as it can be known. Trust is given to networks, never to a header."""

from collections.abc import Iterator

import pytest

from tests.end_to_end.configuration import configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream

# X-Forwarded-For lines, and the address behind a trusted proxy.
SEEN = {
    "none": ([], "127.0.0.1"),
    "one": (["192.0.2.1"], "192.0.2.1"),
    "last-wins": (["203.0.113.9, 192.0.2.1"], "192.0.2.1"),
    "trusted-hops-are-skipped": (["203.0.113.9, 192.0.2.1, 10.1.2.3, 127.0.0.2"], "192.0.2.1"),
    "several-lines-are-one-list": (["203.0.113.9", "192.0.2.1", "10.1.2.3"], "192.0.2.1"),
    "spaces": (["  192.0.2.1\t,10.0.0.1 "], "192.0.2.1"),
    "only-trusted-hops": (["10.1.2.3, 10.1.2.4"], "10.1.2.3"),
    "mapped-ipv4": (["::ffff:192.0.2.1"], "192.0.2.1"),
    "mapped-trusted-hop": (["192.0.2.1, ::ffff:10.0.0.1"], "192.0.2.1"),
    "ipv6": (["2001:db8::1"], "2001:db8::1"),
    "ipv6-not-shortened": (["2001:0db8:0:0:0:0:0:1"], "2001:db8::1"),
    "garbage": (["no address"], "127.0.0.1"),
    "empty": ([""], "127.0.0.1"),
    "garbage-before-a-trusted-hop": (["no address, 10.0.0.1"], "10.0.0.1"),
    "unknown": (["unknown"], "127.0.0.1"),
    "zone-is-cut-off": (["fe80::1%eth0"], "fe80::1"),
    "leading-zeros": (["192.000.002.001"], "127.0.0.1"),
    "injection": (["192.0.2.1;rm"], "127.0.0.1"),
    "very-long": (["1," * 3000 + "192.0.2.1"], "192.0.2.1"),
}


@pytest.fixture(scope="module")
def behind_proxy(start_gateway: StartGateway, upstream: StubUpstream) -> Iterator[GatewayProcess]:
    """A gateway that trusts this machine (and 10.0.0.0/8) as a proxy, and refuses underscores."""
    running = start_gateway(
        configuration(
            services=[service("stub", upstream.url)],
            routes=[route("open", "/open"), route("private", "/private", access="authenticated")],
            settings={"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]},
        ),
        environment={"GATEWAY_UNDERSCORE_HEADERS": "reject"},
    )
    yield running
    running.stop()


@pytest.mark.parametrize("lines, expected", SEEN.values(), ids=SEEN.keys())
def test_client_address_behind_a_trusted_proxy(
    behind_proxy: GatewayProcess, upstream: StubUpstream, name: str, lines: list[str], expected: str
) -> None:
    behind_proxy.exchange(request_bytes(f"/open/{name}", *[f"X-Forwarded-For: {line}" for line in lines]))
    request = upstream.wait_for_request(f"/open/{name}")
    assert request.header("X-Real-IP") == expected.encode()
    record = behind_proxy.wait_for_log(path=f"/open/{name}")
    assert record["client_ip"] == expected


@pytest.mark.parametrize("lines", [lines for lines, _ in SEEN.values()], ids=SEEN.keys())
def test_without_trusted_proxies_the_peer_is_the_client(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, lines: list[str]
) -> None:
    gateway.exchange(request_bytes(f"/open/{name}", *[f"X-Forwarded-For: {line}" for line in lines]))
    request = upstream.wait_for_request(f"/open/{name}")
    assert (request.header("X-Real-IP"), request.header("X-Forwarded-For")) == (b"127.0.0.1", b"127.0.0.1")


@pytest.mark.parametrize(
    "header", ["X-Real-IP", "Forwarded", "True-Client-IP", "X-Client-IP", "CF-Connecting-IP"]
)
def test_no_other_header_tells_the_address(
    behind_proxy: GatewayProcess, upstream: StubUpstream, name: str, header: str
) -> None:
    value = "for=192.0.2.1" if header == "Forwarded" else "192.0.2.1"
    behind_proxy.exchange(request_bytes(f"/open/{name}", f"{header}: {value}"))
    assert upstream.wait_for_request(f"/open/{name}").header("X-Real-IP") == b"127.0.0.1"


def test_scheme_is_believed_from_a_trusted_proxy_only(
    gateway: GatewayProcess, behind_proxy: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    for running, expected in [(behind_proxy, b"https"), (gateway, b"http")]:
        path = f"/open/{name}-{expected.decode()}"
        running.exchange(request_bytes(path, "X-Forwarded-Proto: https"))
        assert upstream.wait_for_request(path).header("X-Forwarded-Proto") == expected
    behind_proxy.exchange(request_bytes(f"/open/{name}-bad", "X-Forwarded-Proto: javascript"))
    assert upstream.wait_for_request(f"/open/{name}-bad").header("X-Forwarded-Proto") == b"http"


def test_network_of_a_key_is_checked_against_the_real_client(
    gateway: GatewayProcess, behind_proxy: GatewayProcess
) -> None:
    spoofed = "X-Forwarded-For: 192.0.2.1"
    for running, status in [(behind_proxy, 200), (gateway, 401)]:
        key = running.issue_key("alice", "bound", allowed_cidrs=["192.0.2.0/24"])
        assert running.exchange(request_bytes("/private/x", spoofed, f"X-API-Key: {key}")).status == status
        assert running.exchange(request_bytes("/private/x", f"X-API-Key: {key}")).status == 401


@pytest.mark.parametrize("header", ["X_Custom", "X_User_Id", "Content_Length", "X-A_B"])
def test_underscore_in_a_name_is_refused_where_so_configured(
    behind_proxy: GatewayProcess, upstream: StubUpstream, name: str, header: str
) -> None:
    answer = behind_proxy.exchange(request_bytes(f"/open/{name}", f"{header}: 1"))
    assert (answer.status, answer.error_code) == (400, "bad_header")
    assert upstream.to(f"/open/{name}") == []
