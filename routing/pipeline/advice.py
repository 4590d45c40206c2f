"""Say what would turn a refusal into an allowance: the smallest grant, role or scope. Pure: no I/O."""

from accounts.directory import Directory
from accounts.identity import GrantEntry
from routing.pipeline.errors import (
    BadTarget,
    CredentialInvalid,
    CredentialMissing,
    GatewayError,
    GrantMissing,
    MethodNotAllowed,
    RoleMissing,
    RouteNotFound,
    ScopeMissing,
)
from routing.pipeline.exchange import Exchange


def advise(refusal: GatewayError, exchange: Exchange, directory: Directory, now: float) -> list[str]:
    """Return sentences, the smallest remedy first; empty when nothing in the configuration would help."""
    if isinstance(refusal, GrantMissing):
        return _grant_advice(exchange, directory, now)
    if isinstance(refusal, RoleMissing):
        return _role_advice(exchange, directory)
    if isinstance(refusal, ScopeMissing):
        return [f"Add the scope {refusal.details['scope']} to the credential, or use one without scopes."]
    if isinstance(refusal, MethodNotAllowed) and exchange.route is None and refusal.allow:
        return [
            f"Add {exchange.method} to the methods of the route there, or use: {', '.join(refusal.allow)}."
        ]
    if isinstance(refusal, RouteNotFound):
        return [
            f"Add a route whose path is {exchange.path.decode()} or a prefix of it, on a segment boundary."
        ]
    if isinstance(refusal, CredentialMissing):
        return ["Send an API key, as X-API-Key or as Authorization: Bearer."]
    if isinstance(refusal, CredentialInvalid):
        return [f"The credential was refused because: {refusal.reason}."]
    if isinstance(refusal, BadTarget) and exchange.encoded_slash and exchange.route is not None:
        return [f"Switch on “allow encoded slashes” for the route {exchange.route.name}."]
    return []


def _grant_advice(exchange: Exchange, directory: Directory, now: float) -> list[str]:
    route, identity = exchange.route, exchange.identity
    assert route is not None
    assert identity is not None
    advice = []
    for grant in identity.grants.get(route.asset_id, ()):
        advice.extend(_mend(grant, exchange.action, now))
    advice.append(f"Smallest grant: {exchange.action} on {route.asset} for {identity.name}.")
    permission = f"{route.asset}:{exchange.action}"
    roles = directory.roles_with(permission, f"{route.asset}:*", f"*:{exchange.action}", "*:*")
    if roles:
        advice.append(f"Smallest role: {roles[0]}" + _others(roles[1:]))
    else:
        advice.append(f"No role holds {permission} yet.")
    return advice


def _mend(grant: GrantEntry, action: str, now: float) -> list[str]:
    """What one existing grant lacks, if it lacks one thing only."""
    covers = action in grant.actions or "*" in grant.actions
    if grant.condition:
        return []
    if covers and grant.expires_at <= now:
        return [f"Extend the grant number {grant.id} of {grant.holder}, which has expired."]
    if not covers and grant.expires_at > now:
        return [f"Add {action} to the grant number {grant.id} of {grant.holder}."]
    return []


def _role_advice(exchange: Exchange, directory: Directory) -> list[str]:
    route = exchange.route
    assert route is not None
    roles = directory.by_size(route.required_roles)
    return [f"Smallest role: {roles[0]}" + _others(roles[1:])]


def _others(roles: list[str]) -> str:
    return f" (also: {', '.join(roles)})." if roles else "."
