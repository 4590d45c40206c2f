"""Decide whether an identity may act on a route's asset, and say by which rule. Pure: no I/O."""

from typing import TYPE_CHECKING

from accounts.identity import NEVER, GrantEntry, Identity, Verdict, permits
from routing.pipeline.errors import GrantMissing, RoleMissing, ScopeMissing
from routing.pipeline.exchange import Exchange

if TYPE_CHECKING:
    from routing.snapshot import CompiledRoute

_VERDICTS_KEPT = 256
ACTIONS = {
    "GET": "read",
    "HEAD": "read",
    "OPTIONS": "read",
    "POST": "write",
    "PUT": "write",
    "PATCH": "write",
    "DELETE": "delete",
}


def action_of(method: str) -> str:
    """The action a method stands for; a method nobody knows needs the right to write."""
    return ACTIONS.get(method, "write")


def authorize(exchange: Exchange, route: "CompiledRoute", identity: Identity, now: float) -> None:
    """Return if the identity may do this; `exchange.rule` then names what allowed it.

    Raises RoleMissing, ScopeMissing or GrantMissing; nothing that is unknown or empty allows.
    """
    # Identity and route never change: a change in the directory or the routes makes new ones.
    question = (route, exchange.action)
    verdict = identity.verdicts.get(question)
    if verdict is None or verdict.expires_at <= now or exchange.trace is not None:
        verdict = _judge(exchange, route, identity, now)
        if len(identity.verdicts) >= _VERDICTS_KEPT:
            identity.verdicts.clear()
        identity.verdicts[question] = verdict
    exchange.rule = verdict.rule
    exchange.grant_id = verdict.grant_id


def _judge(exchange: Exchange, route: "CompiledRoute", identity: Identity, now: float) -> Verdict:
    _check_roles(exchange, route, identity)
    _check_scopes(exchange, route, identity)
    if route.access == "authenticated":
        exchange.note("authorise", "allow", "the route is open to every principal")
        return Verdict("access:authenticated", None, NEVER)
    action, asset = exchange.action, route.asset
    grant = _usable_grant(exchange, route, identity, now)
    if grant is not None:
        exchange.note("authorise", "allow", "%s allows %s on %s", _held_by(grant, identity), action, asset)
        return Verdict(f"grant:{grant.id}", grant.id, grant.expires_at)
    permission = permits(identity.permissions, asset, action)
    if permission is not None:
        exchange.note(
            "authorise", "allow", "a role's permission %s allows %s on %s", permission, action, asset
        )
        return Verdict(f"permission:{permission}", None, NEVER)
    exchange.note("authorise", "refuse", "no grant and no role allows %s on %s", action, asset)
    raise GrantMissing(f"{identity.name} has no {action} on {asset}", {"asset": asset, "action": action})


def _check_roles(exchange: Exchange, route: "CompiledRoute", identity: Identity) -> None:
    if not route.required_roles:
        return
    held = route.required_roles.intersection(identity.roles)
    if held:
        exchange.note("authorise", "pass", "has the role %s", min(held))
        return
    if "*:*" in identity.permissions:
        exchange.note("authorise", "pass", "holds *:*, which covers every role")
        return
    needed = ", ".join(sorted(route.required_roles))
    exchange.note("authorise", "refuse", "has none of the roles: %s", needed)
    raise RoleMissing(f"{identity.name} has none of {needed}", {"roles": sorted(route.required_roles)})


def _check_scopes(exchange: Exchange, route: "CompiledRoute", identity: Identity) -> None:
    scopes = identity.scopes
    if not scopes:
        return
    scope = permits(scopes, route.resource, exchange.action)
    if scope is None:
        exchange.note(
            "authorise", "refuse", f"the credential's scopes don't cover {route.resource}:{exchange.action}"
        )
        raise ScopeMissing(
            f"scopes {sorted(scopes)} don't cover {route.resource}:{exchange.action}",
            {"scope": f"{route.resource}:{exchange.action}"},
        )
    exchange.note("authorise", "pass", "the credential's scope %s covers this", scope)


def _usable_grant(
    exchange: Exchange, route: "CompiledRoute", identity: Identity, now: float
) -> GrantEntry | None:
    for grant in identity.grants.get(route.asset_id, ()):
        reason = _unusable(grant, exchange.action, now)
        if reason is None:
            return grant
        exchange.note("authorise", "skip", "%s %s", _held_by(grant, identity), reason)
    return None


def _unusable(grant: GrantEntry, action: str, now: float) -> str | None:
    if action not in grant.actions and "*" not in grant.actions:
        return f"covers {', '.join(sorted(grant.actions))}, not {action}"
    if grant.expires_at <= now:
        return "has expired"
    if grant.condition:
        # Conditions are not evaluated: what can't be understood denies.
        return f"has a condition, which this version can't evaluate: {grant.condition}"
    return None


def _held_by(grant: GrantEntry, identity: Identity) -> str:
    holder = "its own grant" if grant.holder == identity.name else f"the grant of the group {grant.holder}"
    return f"{holder} (number {grant.id})"
