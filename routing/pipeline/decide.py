"""The decision core: who asks for what, and may it be? Pure: no ORM, no framework, no HTTP client.

Every way in (HTTP, WebSocket, forward-auth, `explain`) calls `decide`; there is no second copy of
any of its steps, and their order is written here, once.
"""

from typing import Protocol

from accounts.authenticators import api_key
from accounts.directory import Directory
from accounts.identity import CredentialNotLoaded, Identity, InvalidCredential, Presented, TicketNotRedeemed
from routing.pipeline import cors
from routing.pipeline.authorization import action_of, authorize
from routing.pipeline.errors import (
    BadTarget,
    BodyTooLarge,
    CredentialInvalid,
    CredentialMissing,
    NotReady,
    Refusal,
    RouteNotFound,
    RouteUnavailable,
    WebSocketNotServed,
)
from routing.pipeline.exchange import Exchange
from routing.pipeline.matching import match_route
from routing.pipeline.origin import check_origin
from routing.snapshot import CompiledRoute, Snapshot


class World(Protocol):
    """What decisions are made from: one revision of the configuration, and who there is."""

    snapshot: Snapshot | None
    directory: Directory
    default_identity: Identity | None

    async def load_credential(self, digest: bytes) -> None:
        """Bring the credential with this digest into the directory, if the database has it."""

    async def redeem_ticket(self, ticket: bytes, client_ip: str) -> Presented:
        """What the ticket was issued for. Raises CredentialInvalid unless it is unspent and in time."""


AUTHENTICATORS = {api_key.NAME: api_key.authenticate}


async def decide(world: World, exchange: Exchange, now: float) -> CompiledRoute:
    """Return the route if the request may pass; the exchange then holds identity and rule.

    Raises a Refusal otherwise. `now` is epoch seconds.
    """
    try:
        return decide_in_memory(world, exchange, now)
    except TicketNotRedeemed as unspent:
        exchange.presented = await world.redeem_ticket(unspent.ticket, exchange.client_ip)
        exchange.by_ticket = True
    except CredentialNotLoaded as missing:
        await world.load_credential(missing.digest)
    # From the start, as the configuration may have changed meanwhile: no decision mixes two revisions.
    try:
        return decide_in_memory(world, exchange, now)
    except CredentialNotLoaded as missing:
        if not exchange.by_ticket:
            raise CredentialInvalid("unknown key") from None
        await world.load_credential(missing.digest)
    try:
        return decide_in_memory(world, exchange, now)
    except CredentialNotLoaded:
        raise CredentialInvalid("unknown key") from None


async def reconsider(world: World, exchange: Exchange, now: float) -> CompiledRoute:
    """Return the route that what is under way would be let through by now; it counts against no limit.

    Raises the Refusal that it would meet. `exchange` keeps what it was decided by: a copy is asked with.
    """
    try:
        return reconsider_in_memory(world, exchange, now)
    except CredentialNotLoaded as missing:
        await world.load_credential(missing.digest)
    try:
        return reconsider_in_memory(world, exchange, now)
    except CredentialNotLoaded:
        raise CredentialInvalid("unknown key") from None


def reconsider_in_memory(world: World, exchange: Exchange, now: float) -> CompiledRoute:
    """The same without the database. Raises CredentialNotLoaded besides."""
    snapshot = world.snapshot
    if snapshot is None:
        raise NotReady("no snapshot")
    asked = Exchange(exchange.method, exchange.path, exchange.query)
    asked.host, asked.presented = exchange.host, exchange.presented
    asked.client_ip, asked.websocket = exchange.client_ip, exchange.websocket
    asked.encoded_slash = exchange.encoded_slash
    route = recognise(snapshot, asked)
    if route.access != "public":
        authorize(asked, route, authenticate(world, asked, route, now), now)
    return route


def decide_in_memory(world: World, exchange: Exchange, now: float) -> CompiledRoute:
    """The same where memory can tell. Raises CredentialNotLoaded or TicketNotRedeemed where it can't."""
    snapshot = world.snapshot
    if snapshot is None:
        raise NotReady("no snapshot")
    exchange.revision = snapshot.revision
    try:
        route = recognise(snapshot, exchange)
        if exchange.preflight:
            exchange.rule = "cors:preflight"
            exchange.note("authorise", "allow", "a CORS preflight from an allowed origin")
        elif route.access == "public":
            exchange.rule = "access:public"
            exchange.note("authenticate", "skip", "the route is public")
            exchange.note("authorise", "allow", "the route is public")
        else:
            identity = authenticate(world, exchange, route, now)
            authorize(exchange, route, identity, now)
        if exchange.content_length is not None:
            _check_size(exchange, route)
        if exchange.presented.authorization is not None:
            _pass_own_authorization(world, exchange, route)
    except Refusal as refusal:
        exchange.rule = f"refusal:{refusal.code}"
        raise
    return route


def recognise(snapshot: Snapshot, exchange: Exchange) -> CompiledRoute:
    """Find the route. Raises RouteNotFound, MethodNotAllowed, RouteUnavailable or BadTarget."""
    asked = cors.asked_method(exchange) if snapshot.cors_origins else None
    route = _find_route(snapshot, exchange, asked or exchange.method)
    if snapshot.cors_origins and exchange.origin is not None:
        exchange.cors_origin = cors.allowed_origin(exchange, snapshot.cors_origins, route.access == "public")
        exchange.preflight = asked is not None and exchange.cors_origin is not None
        if asked is not None and not exchange.preflight:
            # An OPTIONS request like any other: what it asks leave for must not choose its route.
            route = _find_route(snapshot, exchange, exchange.method)
    exchange.route = route
    exchange.action = action_of(exchange.method)
    if exchange.trace is not None:
        exchange.note(
            "recognise", "pass", "route %s (%s) to service %s", route.name, route.pattern, route.service.name
        )
    if route.broken:
        raise RouteUnavailable(route.broken)
    if exchange.websocket:
        if not route.websocket:
            raise WebSocketNotServed(f"route {route.name} has websocket off")
        check_origin(exchange, route)
    if exchange.encoded_slash and not route.allow_encoded_slashes:
        raise BadTarget("encoded slash on a route that doesn't allow it")
    return route


def _find_route(snapshot: Snapshot, exchange: Exchange, method: str) -> CompiledRoute:
    try:
        return match_route(snapshot.index, exchange.host, method, exchange.path)
    except RouteNotFound:
        exchange.note("recognise", "refuse", "no route matches this host and path")
        raise


def authenticate(world: World, exchange: Exchange, route: CompiledRoute, now: float) -> Identity:
    """Ask the route's authenticators in order; the first that recognises its own decides.

    Raises CredentialMissing or CredentialInvalid.
    """
    presented = exchange.presented
    if presented.api_key_query is not None and not route.query_api_key:
        presented = presented._replace(api_key_query=None)
        exchange.note("authenticate", "skip", "this route takes no key in the query")
    if presented.ticket is not None:
        # Only where nothing else can be sent: a ticket in the address of a page would be spent by a visit.
        if exchange.websocket and presented.is_ticket_alone:
            raise TicketNotRedeemed(presented.ticket)
        exchange.note("authenticate", "skip", "a ticket counts for a WebSocket alone, by itself")
    for name in route.authenticators:
        method = AUTHENTICATORS.get(name)
        if method is None:
            continue
        try:
            identity = method(presented, world.directory, now)
        except InvalidCredential as invalid:
            exchange.note("authenticate", "refuse", "%s: %s", name, invalid.reason)
            raise CredentialInvalid(invalid.described) from invalid
        if identity is not None:
            exchange.identity = identity
            if exchange.trace is not None:
                exchange.note("authenticate", "pass", "%s: %s %s", name, identity.kind, identity.name)
            return identity
        exchange.note("authenticate", "skip", "%s: nothing of its kind was sent", name)
    if world.default_identity is not None:
        exchange.identity = world.default_identity
        exchange.note(
            "authenticate", "pass", "development mode: everybody is %s", world.default_identity.name
        )
        return world.default_identity
    if exchange.presented.anything:
        raise CredentialInvalid("no authenticator of the route recognised what was sent")
    raise CredentialMissing("nothing was sent")


def _pass_own_authorization(world: World, exchange: Exchange, route: CompiledRoute) -> None:
    """Let Authorization through where it is the upstream's own affair; an API key never is."""
    authorization = exchange.presented.authorization
    assert authorization is not None
    wanted = route.access == "public" or route.service.identity == "forward"
    if wanted and not api_key.is_key(authorization, world.directory):
        # A list of its own: the fields may be remembered for the connection's next request.
        exchange.headers = [*exchange.headers, (b"authorization", authorization)]


def _check_size(exchange: Exchange, route: CompiledRoute) -> None:
    length = exchange.content_length
    if length is not None and length > route.max_body_bytes:
        raise BodyTooLarge(
            f"{length} of at most {route.max_body_bytes} bytes", {"limit": route.max_body_bytes}
        )
