"""A world to decide in: compiled rows, a directory, and a request as an ASGI server hands it over."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from accounts.directory import Directory
from accounts.identity import Identity, Presented
from routing.pipeline.decide import decide
from routing.pipeline.errors import CredentialInvalid, GatewayError
from routing.pipeline.exchange import Exchange
from routing.pipeline.hygiene import Hygiene, read_scope, start_exchange
from routing.snapshot import CompiledRoute, Snapshot

NOW = 1_000_000.0


@dataclass
class World:
    """What `decide` asks. `lookups` notes every credential that was to be loaded."""

    snapshot: Snapshot | None
    directory: Directory
    default_identity: Identity | None = None
    lookups: list[bytes] = field(default_factory=list)

    async def load_credential(self, digest: bytes) -> None:
        self.lookups.append(digest)

    async def redeem_ticket(self, ticket: bytes, client_ip: str) -> Presented:
        raise CredentialInvalid("no ticket")


def scope(
    method: str = "GET",
    target: str = "/orders",
    headers: Iterable[tuple[str, Any]] = (),
    client: str = "192.0.2.7",
    host: str | None = "gateway.test",
    **more: Any,
) -> dict[str, Any]:
    path, _, query = target.partition("?")
    fields = [] if host is None else [(b"host", host.encode())]
    for name, value in headers:
        fields.append((name.encode(), value if isinstance(value, bytes) else value.encode("latin-1")))
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "client": (client, 4711),
        "headers": fields,
        **more,
    }


def ask(
    world: World,
    asked: dict[str, Any],
    hygiene: Hygiene | None = None,
    now: float = NOW,
    traced: bool = False,
) -> tuple[Exchange, CompiledRoute]:
    """Steps 1 to 7. Raises the Refusal, with the exchange as its `exchange`."""
    exchange = start_exchange(asked)
    if traced:
        exchange.trace = []
    try:
        proxies = world.snapshot.trusted_proxies if world.snapshot else ()
        read_scope(exchange, asked, hygiene or Hygiene(trusted_proxies=proxies))
        return exchange, asyncio.run(decide(world, exchange, now))
    except GatewayError as refusal:
        refusal.exchange = exchange  # type: ignore[attr-defined]
        raise


def verdict(world: World, asked: dict[str, Any], **options: Any) -> str:
    """`allow: rule` or `status code`."""
    try:
        return f"allow: {ask(world, asked, **options)[0].rule}"
    except GatewayError as refusal:
        return f"{refusal.status} {refusal.code}"
