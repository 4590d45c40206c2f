"""Who the client is, however it tries to say otherwise."""

from ipaddress import ip_network

import pytest

from routing.pipeline import client_address as module
from routing.pipeline.client_address import client_address, limit_key, parse_address

TRUSTED = tuple(ip_network(text) for text in ("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"))
WALKS = {
    "no-header": ("10.0.0.1", (), "10.0.0.1"),
    "one": ("10.0.0.1", (b"203.0.113.5",), "203.0.113.5"),
    "forged-first": ("10.0.0.1", (b"1.1.1.1, 203.0.113.5",), "203.0.113.5"),
    "through-two-proxies": ("10.0.0.1", (b"203.0.113.5, 10.0.0.2, 192.0.2.1",), "203.0.113.5"),
    "forged-trusted-first": ("10.0.0.1", (b"10.9.9.9, 203.0.113.5, 10.0.0.2",), "203.0.113.5"),
    "several-lines": ("10.0.0.1", (b"1.1.1.1", b"203.0.113.5"), "203.0.113.5"),
    "only-trusted": ("10.0.0.1", (b"10.0.0.3, 10.0.0.2",), "10.0.0.3"),
    "peer-not-trusted": ("198.51.100.9", (b"203.0.113.5",), "198.51.100.9"),
    "unreadable": ("10.0.0.1", (b"203.0.113.5, unknown, 10.0.0.2",), "10.0.0.2"),
    "unreadable-last": ("10.0.0.1", (b"203.0.113.5, _hidden",), "10.0.0.1"),
    "empty": ("10.0.0.1", (b"",), "10.0.0.1"),
    "empty-entry": ("10.0.0.1", (b"203.0.113.5,,",), "10.0.0.1"),
    "with-port": ("10.0.0.1", (b"203.0.113.5:4711",), "203.0.113.5"),
    "ipv6": ("10.0.0.1", (b"2a00::1",), "2a00::1"),
    "ipv6-with-port": ("10.0.0.1", (b"[2a00::1]:4711",), "2a00::1"),
    "ipv6-one-form": ("10.0.0.1", (b"2A00:0:0:0::1",), "2a00::1"),
    "ipv6-proxy": ("2001:db8::9", (b"203.0.113.5",), "203.0.113.5"),
    "mapped-client": ("10.0.0.1", (b"::ffff:203.0.113.5",), "203.0.113.5"),
    "mapped-peer": ("::ffff:10.0.0.1", (b"203.0.113.5",), "203.0.113.5"),
    "mapped-proxy-in-the-list": ("10.0.0.1", (b"203.0.113.5, ::ffff:10.0.0.7",), "203.0.113.5"),
    "latin-1": ("10.0.0.1", (b"\xff\xfe",), "10.0.0.1"),
    "octal": ("10.0.0.1", (b"0203.0.113.5",), "10.0.0.1"),
    "decimal": ("10.0.0.1", (b"3405803781",), "10.0.0.1"),
    "no-address-at-all": ("", (b"203.0.113.5",), ""),
}


@pytest.mark.parametrize("peer, headers, client", WALKS.values(), ids=WALKS.keys())
def test_client_is_the_first_untrusted_address_from_the_right(
    peer: str, headers: tuple[bytes, ...], client: str
) -> None:
    assert client_address(peer, headers, TRUSTED) == client


def test_without_trusted_proxies_the_header_counts_for_nothing() -> None:
    assert client_address("10.0.0.1", (b"203.0.113.5",), ()) == "10.0.0.1"
    assert client_address("::ffff:10.0.0.1", (b"203.0.113.5",), ()) == "10.0.0.1"


def test_long_entry_is_neither_parsed_nor_remembered() -> None:
    parse_address.cache_clear()
    entry = b"1" * 30_000
    assert client_address("10.0.0.1", (entry,), TRUSTED) == "10.0.0.1"
    assert client_address("10.0.0.1", (b"[203.0.113.5]" + b" " * 30_000,), TRUSTED) == "10.0.0.1"
    assert parse_address.cache_info().currsize == 1  # the peer
    for cache in (module.parse_address, module.folded):
        assert cache.cache_info().maxsize is not None


@pytest.mark.parametrize(
    "client, key",
    [
        ("203.0.113.5", "203.0.113.5"),
        ("2a00:1:2:3:4:5:6:7", "2a00:1:2:3::/64"),
        ("2a00:1:2:3::", "2a00:1:2:3::/64"),
        ("unreadable", "unreadable"),
    ],
)
def test_limits_count_ipv6_by_its_64(client: str, key: str) -> None:
    assert limit_key(client) == key
