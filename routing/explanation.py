"""Run the decision core for a request that nobody sent, and keep what it says. Reads the database once."""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from accounts import directory_rows
from accounts.directory import Directory
from accounts.identity import Credential, Identity
from accounts.models import ApiKey, Principal
from accounts.revisions import current_revision
from routing.pipeline.advice import advise
from routing.pipeline.decide import decide
from routing.pipeline.errors import GatewayError
from routing.pipeline.exchange import Exchange
from routing.pipeline.hygiene import Hygiene, read_scope, start_exchange
from routing.snapshot import CompileDefaults, Snapshot, compile_snapshot
from routing.snapshot_rows import read_rows

# Stands for "the principal has proved who it is"; never valid on a running gateway.
_STAND_IN = b"explained, not sent"


class UnknownSubject(Exception):
    """There is no principal (or no key) of that name."""


@dataclass(slots=True)
class ExplainedWorld:
    """What `decide` needs, for one request (see routing.pipeline.decide.World)."""

    snapshot: Snapshot | None
    directory: Directory
    default_identity: Identity | None = None

    async def load_credential(self, digest: bytes) -> None:
        """Everything that can be known is loaded already."""


@dataclass(slots=True)
class Explanation:
    """The trace of a decision: steps are (step, outcome, text)."""

    exchange: Exchange
    steps: list[tuple[str, str, str]]
    refusal: GatewayError | None
    advice: list[str]

    @property
    def allowed(self) -> bool:
        return self.refusal is None


async def explain(world: ExplainedWorld, scope: dict[str, Any], now: float) -> Explanation:
    """Decide about the request in `scope` and tell how."""
    exchange = start_exchange(scope)
    exchange.trace = []
    assert world.snapshot is not None
    try:
        read_scope(exchange, scope, Hygiene(trusted_proxies=world.snapshot.trusted_proxies))
        await decide(world, exchange, now)
    except GatewayError as refusal:
        if not any(outcome == "refuse" for _, outcome, _ in exchange.trace):
            exchange.note(_step_of(exchange), "refuse", refusal.reason or refusal.message)
        return Explanation(exchange, exchange.trace, refusal, advise(refusal, exchange, world.directory, now))
    return Explanation(exchange, exchange.trace, None, [])


def _step_of(exchange: Exchange) -> str:
    """The step that ended an exchange without a line of its own."""
    if exchange.route is None:
        return "recognise" if exchange.trace else "hygiene"
    return "authenticate" if exchange.identity is None and exchange.route.access != "public" else "limits"


def load_world(principal: str | None, key_public_id: str | None) -> tuple[ExplainedWorld, bytes | None]:
    """The committed configuration, and the secret to present for the subject. Raises UnknownSubject."""
    revision = current_revision()
    defaults = CompileDefaults(
        settings.GATEWAY_MAX_BODY_BYTES, settings.GATEWAY_ROUTE_TIMEOUT, tuple(settings.GATEWAY_CORS_ORIGINS)
    )
    directory = Directory(settings.GATEWAY_API_KEY_PEPPER.encode())
    directory.put_roles(directory_rows.read_roles())
    world = ExplainedWorld(compile_snapshot(read_rows(revision), defaults), directory)
    if principal is None and key_public_id is None:
        return world, None
    identity = _load_identity(directory, principal, key_public_id)
    directory.put_static(directory.digest(_STAND_IN), identity)
    return world, _STAND_IN


def _load_identity(directory: Directory, principal: str | None, key_public_id: str | None) -> Identity:
    credential = Credential(id=0, public_id="any key", name="any key", principal_id=0)
    if key_public_id is not None:
        key = ApiKey.objects.filter(public_id=key_public_id).select_related("principal").first()
        if key is None:
            raise UnknownSubject(f"there is no API key {key_public_id}")
        if principal is not None and key.principal.name != principal:
            raise UnknownSubject(f"the API key {key_public_id} is {key.principal.name}'s, not {principal}'s")
        principal = key.principal.name
        directory.put_credential(next(iter(directory_rows.read_credentials(ids=[key.pk]))))
        credential = directory.credential(bytes(key.digest)) or credential
    row = Principal.objects.filter(name=principal).first()
    if row is None:
        raise UnknownSubject(f"there is no principal {principal}")
    ids = {row.pk} | directory_rows.groups_above({row.pk})
    for principal_row in directory_rows.read_principals(sorted(ids)):
        directory.put_principal(principal_row)
    identity = directory.identity_of(row.pk)
    assert identity is not None
    return replace(identity, credential=credential, authenticator="api_key")


def scope_of(
    method: str, url: str, client_ip: str, headers: list[tuple[str, str]], secret: bytes | None
) -> dict[str, Any]:
    """An ASGI scope for METHOD URL; `url` may be a path or a whole URL."""
    if url.startswith(("http://", "https://")):
        parts = urlsplit(url)
        scheme, host = parts.scheme, parts.netloc
        target = url[len(f"{scheme}://{host}") :] or "/"
    else:
        scheme, host, target = "http", "localhost", url
    path, _, query = target.partition("?")
    names = {name.lower() for name, _ in headers}
    fields = [(name.lower().encode(), value.encode()) for name, value in headers]
    if "host" not in names:
        fields.insert(0, (b"host", host.encode()))
    if secret is not None:
        fields.append((b"x-api-key", secret))
    return {
        "type": "http",
        "method": method,
        "scheme": scheme,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "client": (client_ip, 0),
        "headers": fields,
    }


def now_seconds() -> float:
    return timezone.now().timestamp()
