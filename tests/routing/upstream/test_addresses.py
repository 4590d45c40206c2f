"""Which addresses may be connected to, whatever a name leads to."""

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from routing.pipeline.errors import UpstreamUnreachable
from routing.upstream import addresses as module
from routing.upstream.addresses import Resolver, problem_with, problem_with_host
from tests.routing.event_loop import run

LOOPBACK = {
    "127.0.0.1": "127.0.0.1",
    "127-anything": "127.8.9.10",
    "ipv6": "::1",
    "mapped": "::ffff:127.0.0.1",
    "6to4": "2002:7f00:1::",
    "nat64": "64:ff9b::7f00:1",
}
FORBIDDEN = {
    "metadata": "169.254.169.254",
    "metadata-mapped": "::ffff:169.254.169.254",
    "metadata-mapped-hex": "::ffff:a9fe:a9fe",
    "metadata-6to4": "2002:a9fe:a9fe::1",
    "metadata-nat64": "64:ff9b::a9fe:a9fe",
    "metadata-containers": "169.254.170.2",
    "metadata-alibaba": "100.100.100.200",
    "metadata-oracle": "192.0.0.192",
    "metadata-ipv6": "fd00:ec2::254",
    "link-local": "169.254.1.1",
    "link-local-ipv6": "fe80::1",
    "link-local-zone": "fe80::1%eth0",
    "unspecified": "0.0.0.0",
    "unspecified-ipv6": "::",
    "unspecified-mapped": "::ffff:0.0.0.0",
    "multicast": "224.0.0.1",
    "multicast-ipv6": "ff02::1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
}
ALLOWED = {
    "private": "10.1.2.3",
    "private-172": "172.16.0.1",
    "private-192": "192.168.1.1",
    "public": "93.184.216.34",
    "ipv6": "2606:2800:220:1::1",
    "unique-local": "fd12:3456::1",
    "mapped-private": "::ffff:10.1.2.3",
    "6to4-of-a-public": "2002:5db8:d822::1",
}


@pytest.mark.parametrize("text", LOOPBACK.values(), ids=LOOPBACK.keys())
def test_loopback_is_a_target_only_where_a_setting_allows_it(text: str) -> None:
    assert problem_with(ip_address(text), allow_loopback=True) is None
    assert "loopback" in str(problem_with(ip_address(text), allow_loopback=False))


@pytest.mark.parametrize("text", FORBIDDEN.values(), ids=FORBIDDEN.keys())
@pytest.mark.parametrize("allow_loopback", [True, False], ids=["development", "production"])
def test_address_that_is_never_a_target(text: str, allow_loopback: bool) -> None:
    assert problem_with(ip_address(text), allow_loopback) is not None


@pytest.mark.parametrize("text", ALLOWED.values(), ids=ALLOWED.keys())
def test_ordinary_address_is_a_target(text: str) -> None:
    assert problem_with(ip_address(text), allow_loopback=False) is None


@pytest.mark.parametrize(
    "host, refused",
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("db.localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("example.com", False),
        ("localhost.example.com", False),
    ],
)
def test_host_that_is_plainly_loopback_is_refused_when_it_is_saved(host: str, refused: bool) -> None:
    assert (problem_with_host(host, allow_loopback=False) is not None) is refused


def resolve(monkeypatch: pytest.MonkeyPatch, host: str, *answers: str, allow_loopback: bool = False) -> Any:
    """The addresses for a name for which DNS gives these answers."""

    async def scenario() -> Any:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(asked: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)) for text in answers]

        class Loop:
            def __getattr__(self, name: str) -> Any:
                return getaddrinfo if name == "getaddrinfo" else getattr(loop, name)

        monkeypatch.setattr(module.asyncio, "get_running_loop", Loop)
        try:
            return await Resolver(allow_loopback).resolve(host, 80)
        finally:
            monkeypatch.undo()

    return run(scenario())


def test_forbidden_answers_of_dns_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(monkeypatch, "a.test", "127.0.0.1", "10.0.0.5", "169.254.169.254", "10.0.0.5") == [
        "10.0.0.5"
    ]


@pytest.mark.parametrize("answer", [*FORBIDDEN.values(), *LOOPBACK.values()], ids=[*FORBIDDEN, *LOOPBACK])
def test_name_that_leads_to_a_forbidden_address_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    with pytest.raises(UpstreamUnreachable):
        resolve(monkeypatch, "rebound.test", answer)


def test_name_without_an_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UpstreamUnreachable, match="no address"):
        resolve(monkeypatch, "empty.test")


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test"])
def test_name_that_cannot_be_resolved_is_unreachable(host: str) -> None:
    with pytest.raises(UpstreamUnreachable):
        run(Resolver(False).resolve(host, 80))


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1"])
def test_address_in_an_odd_spelling_is_checked_as_what_it_is(host: str) -> None:
    with pytest.raises(UpstreamUnreachable):
        run(Resolver(False).resolve(host, 80))


def test_answer_is_remembered_for_a_while_and_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    now = 100.0

    async def scenario() -> None:
        nonlocal now
        resolver = Resolver(False)

        async def look_up(host: str, port: int) -> list[str]:
            nonlocal asked
            asked += 1
            return ["10.0.0.1"]

        monkeypatch.setattr(resolver, "_look_up", look_up)
        monkeypatch.setattr(module, "monotonic", lambda: now)
        monkeypatch.setattr(module, "CACHE_LIMIT", 3)
        for _ in range(3):
            await resolver.resolve("a.test", 80)
        assert asked == 1
        now += module.CACHE_SECONDS + 1
        await resolver.resolve("a.test", 80)
        assert asked == 2
        for number in range(20):
            await resolver.resolve(f"{number}.test", 80)
            assert len(resolver._answers) <= 3

    run(scenario())
