"""Who makes a request, as plain frozen values: what the directory gives and the decision core reads."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any, NamedTuple

NEVER = float("inf")


class GrantEntry(NamedTuple):
    """Leave to act on an asset; `holder` is the principal or group that was given it."""

    id: int
    asset_id: int
    actions: frozenset[str]
    expires_at: float
    condition: str
    holder: str


class Verdict(NamedTuple):
    """An allowance, by which rule, and until when it holds (epoch seconds)."""

    rule: str
    grant_id: int | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class Credential:
    """An API key as the directory knows it; `expires_at` is epoch seconds, NEVER when unlimited."""

    id: int
    public_id: str
    name: str
    principal_id: int
    expires_at: float = NEVER
    revoked_at: float = NEVER
    scopes: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A principal with everything that its groups and roles give it, and the credential it came with."""

    principal_id: int
    name: str
    kind: str
    roles: tuple[str, ...] = ()
    permissions: frozenset[str] = frozenset()
    grants: dict[int, tuple[GrantEntry, ...]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    enabled: bool = True
    credential: Credential | None = None
    authenticator: str = ""
    # What the decision core has allowed this identity before; gone with the identity at any change.
    verdicts: dict[Any, "Verdict"] = field(default_factory=dict, init=False)

    @property
    def scopes(self) -> frozenset[str]:
        return self.credential.scopes if self.credential is not None else frozenset()


def permits(permissions: frozenset[str], resource: str, action: str) -> str | None:
    """Return the permission among `permissions` (resource:action, * for any) that covers this, or None."""
    if not permissions:
        return None
    for candidate in (f"{resource}:{action}", f"{resource}:*", f"*:{action}", "*:*"):
        if candidate in permissions:
            return candidate
    return None


class InvalidCredential(Exception):
    """A credential of this authenticator's kind was sent and is wrong; `reason` is for audit only."""

    def __init__(self, reason: str, public_id: str = "", principal: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.public_id = public_id
        self.principal = principal

    @property
    def described(self) -> str:
        """The reason with the key and its owner, where they are known."""
        owner = f" ({self.public_id} of {self.principal})" if self.public_id else ""
        return self.reason + owner


class CredentialNotLoaded(Exception):
    """The index can't tell: this digest has to be looked up in the database first."""

    def __init__(self, digest: bytes) -> None:
        super().__init__("credential not loaded")
        self.digest = digest


class TicketNotRedeemed(Exception):
    """A single-use ticket stands for the credential: it has to be redeemed for that first."""

    def __init__(self, ticket: bytes) -> None:
        super().__init__("ticket not redeemed")
        self.ticket = ticket


class Presented(NamedTuple):
    """What a request offers as proof of identity; None where it offers nothing."""

    authorization: bytes | None = None
    api_key_header: bytes | None = None
    api_key_query: bytes | None = None
    client_ip: str = ""
    ticket: bytes | None = None
    # Digests of what stands above, for requests that offer the same again and again.
    digests: dict[bytes, bytes] | None = None

    @property
    def is_ticket_alone(self) -> bool:
        return (
            self.ticket is not None
            and self.authorization is None
            and self.api_key_header is None
            and self.api_key_query is None
        )

    @property
    def anything(self) -> bool:
        return (
            self.authorization is not None
            or self.api_key_header is not None
            or self.api_key_query is not None
            or self.ticket is not None
        )
