"""Tell who the client is from the peer and X-Forwarded-For. Pure: no I/O."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_LONGEST_ENTRY = 100
Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


@lru_cache(maxsize=8192)
def parse_address(text: str) -> Address | None:
    """Read an address as a proxy may write it (with port, in brackets); IPv4-mapped is folded to IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_trusted(text: str, trusted: tuple[Network, ...]) -> bool:
    address = parse_address(text)
    return address is not None and any(address in network for network in trusted)


@lru_cache(maxsize=8192)
def folded(text: str) -> str:
    """An address in its one canonical form; what can't be read stays as it is."""
    address = parse_address(text)
    return text if address is None else str(address)


def client_address(peer: str, forwarded_for: tuple[bytes, ...], trusted: tuple[Network, ...]) -> str:
    """Walk X-Forwarded-For from right to left past trusted proxies; the first other one is the client.

    An entry that can't be read ends the walk at the last address that could: it never skips a check.
    """
    client = folded(peer)
    if not trusted or not forwarded_for or not is_trusted(peer, trusted):
        return client
    entries = b",".join(forwarded_for).decode("latin-1").split(",")
    for entry in reversed(entries):
        # No address is as long, and what is parsed is remembered.
        address = parse_address(entry) if len(entry) <= _LONGEST_ENTRY else None
        if address is None:
            return client
        client = str(address)
        if not any(address in network for network in trusted):
            return client
    return client


def limit_key(client: str) -> str:
    """What an address limit counts by: the address, or the /64 that one IPv6 subscriber holds."""
    address = parse_address(client)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False).network_address) + "/64"
    return client
