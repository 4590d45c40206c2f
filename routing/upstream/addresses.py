"""Turn a target's host into addresses that may be connected to: the address checked is the one used.

A name in a target's URL must not lead the gateway to itself, to its machine's services or to a
cloud's metadata server, whatever DNS answers today.
"""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from time import monotonic

from routing.pipeline.errors import UpstreamUnreachable

CACHE_SECONDS = 10.0
CACHE_LIMIT = 4096
_NAT64 = ip_network("64:ff9b::/96")
_METADATA = frozenset(
    {
        ip_address("169.254.169.254"),
        ip_address("169.254.170.2"),
        ip_address("100.100.100.200"),
        ip_address("192.0.0.192"),
        ip_address("fd00:ec2::254"),
    }
)


def problem_with(address: IPv4Address | IPv6Address, allow_loopback: bool) -> str | None:
    """Say why an address may not be a target; None when it may."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _translated(address)
        if inner is not None:
            return problem_with(inner, allow_loopback)
    if address in _METADATA:
        return "a cloud metadata address"
    if address.is_loopback:
        return None if allow_loopback else "a loopback address (GATEWAY_ALLOW_LOOPBACK_UPSTREAMS allows it)"
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if address.is_reserved and isinstance(address, IPv4Address):
        return "a reserved address"
    return None


def _translated(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a NAT64 gateway would connect to (RFC 6052)."""
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def problem_with_host(host: str, allow_loopback: bool) -> str | None:
    """The same for a host as it stands in a URL; a name is checked when it is connected to."""
    if host.rstrip(".").lower() in ("localhost", "ip6-localhost") or host.lower().endswith(".localhost"):
        return problem_with(ip_address("127.0.0.1"), allow_loopback)
    try:
        return problem_with(ip_address(host), allow_loopback)
    except ValueError:
        return None


class Resolver:
    """Resolve names through the system, remembering an answer for ten seconds."""

    def __init__(self, allow_loopback: bool, own_bind: str = "") -> None:
        """`own_bind` is HOST:PORT of the gateway itself: a target there would go round for ever."""
        self._allow_loopback = allow_loopback
        self._own_host, _, port = own_bind.rpartition(":")
        self._own_port = int(port) if port.isdigit() else 0
        self._answers: dict[tuple[str, int], tuple[float, list[str]]] = {}

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses to try, in order. Raises UpstreamUnreachable when there is none."""
        cached = self._answers.get((host, port))
        if cached is not None and cached[0] > monotonic():
            return cached[1]
        addresses = self._permitted(host, port, await self._look_up(host, port))
        if len(self._answers) >= CACHE_LIMIT:
            self._answers.clear()
        self._answers[host, port] = (monotonic() + CACHE_SECONDS, addresses)
        return addresses

    async def _look_up(self, host: str, port: int) -> list[str]:
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            # UnicodeError: a label that is empty or longer than 63 characters.
            raise UpstreamUnreachable(f"{host}: {error}") from error
        return list(dict.fromkeys(str(answer[4][0]) for answer in answers))

    def _permitted(self, host: str, port: int, addresses: list[str]) -> list[str]:
        problems = {text: self._problem(text, port) for text in addresses}
        permitted = [text for text, problem in problems.items() if problem is None]
        if not permitted:
            reasons = ", ".join(f"{text} is {problem}" for text, problem in problems.items()) or "no address"
            raise UpstreamUnreachable(f"{host}: {reasons}")
        return permitted

    def _problem(self, text: str, port: int) -> str | None:
        address = ip_address(text)
        if port == self._own_port and (address.is_loopback or text == self._own_host.strip("[]")):
            return "this gateway itself"
        return problem_with(address, self._allow_loopback)
