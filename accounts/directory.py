"""A bounded in-memory index of credentials, principals and grants. No I/O: rows are put in by others.

Rows are plain tuples (see accounts.directory_rows), so that they can come from the database or
from the copy on disk alike. Up to `limit` credentials are held whole; beyond it, an 8-byte
fingerprint of every other credential tells an unknown key from one to be looked up, so that a
stranger's guesses never reach the database.
"""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network
from sys import intern
from typing import Any, NamedTuple

from accounts.digests import KeyDigest
from accounts.identity import NEVER, Credential, CredentialNotLoaded, GrantEntry, Identity

logger = logging.getLogger("gatehouse.directory")

IDENTITY_CACHE_LIMIT = 100_000


class RoleRow(NamedTuple):
    id: int
    name: str
    permissions: list[str]


class GrantRow(NamedTuple):
    id: int
    asset_id: int
    actions: list[str]
    expires_at: float | None
    condition: str


class PrincipalRow(NamedTuple):
    id: int
    name: str
    kind: str
    enabled: bool
    role_ids: list[int]
    group_ids: list[int]
    attributes: dict[str, Any]
    grants: list[GrantRow]


class CredentialRow(NamedTuple):
    id: int
    digest: str  # hexadecimal
    public_id: str
    name: str
    principal_id: int
    expires_at: float | None
    revoked_at: float | None
    scopes: list[str]
    networks: list[str]


_EMPTY: frozenset[str] = frozenset()
_texts: dict[tuple[str, ...], frozenset[str]] = {}


def _frozen(texts: Iterable[str]) -> frozenset[str]:
    """One shared frozenset for each distinct list: a million grants hold a handful."""
    key = tuple(sorted(texts))
    if not key:
        return _EMPTY
    if len(_texts) > 10_000:
        _texts.clear()
    return _texts.setdefault(key, frozenset(intern(text) for text in key))


class Directory:
    """Look up identities by credential digest. Used from one thread."""

    def __init__(self, pepper: bytes, limit: int = 200_000) -> None:
        self.limit = limit
        self._pepper = pepper
        self.digest = KeyDigest(pepper)
        self._roles: dict[int, RoleRow] = {}
        self._principals: dict[int, PrincipalRow] = {}
        self._ids_by_name: dict[str, int] = {}
        self._credentials: dict[bytes, Credential] = {}
        self._digests: dict[int, bytes] = {}
        self._identities: dict[bytes, Identity] = {}
        self._static: dict[bytes, Identity] = {}
        # Sorted 8-byte fingerprints of the credentials that are only in the database.
        self._absent: list[int] | Any = ()
        self._absent_added: set[int] = set()
        # How many held credentials a principal has: counted from the first eviction on.
        self._keys_held: Counter[int] | None = None

    # --- reading -------------------------------------------------------------------------
    def identity_by_digest(self, digest: bytes) -> Identity | None:
        """Return the identity behind a credential, None when there is none.

        Raises CredentialNotLoaded when the database has to be asked.
        """
        identity = self._identities.get(digest)
        if identity is not None:
            return identity
        credential = self._credentials.get(digest)
        if credential is None:
            return self._identity_beyond_the_index(digest)
        identity = self.identity_of(credential.principal_id)
        if identity is None:
            return None
        identity = replace(identity, credential=credential, authenticator="api_key")
        if len(self._identities) >= IDENTITY_CACHE_LIMIT:
            self._identities.clear()
        self._identities[digest] = identity
        return identity

    def _identity_beyond_the_index(self, digest: bytes) -> Identity | None:
        static = self._static.get(digest)
        if static is not None:
            return static
        if self._may_be_in_database(digest):
            raise CredentialNotLoaded(digest)
        return None

    def identity_of(self, principal_id: int) -> Identity | None:
        """Put together what a principal has by itself, through its groups and through its roles."""
        principal = self._principals.get(principal_id)
        if principal is None:
            return None
        holders = self._with_groups(principal)
        roles = {role.id: role for holder in holders for role in self._roles_of(holder)}
        grants: dict[int, list[GrantEntry]] = {}
        for holder in holders:
            for row in holder.grants:
                grants.setdefault(row.asset_id, []).append(_grant_entry(row, holder.name))
        return Identity(
            principal_id=principal.id,
            name=principal.name,
            kind=principal.kind,
            roles=tuple(sorted(role.name for role in roles.values())),
            permissions=_frozen({text for role in roles.values() for text in role.permissions}),
            grants={asset_id: tuple(entries) for asset_id, entries in grants.items()},
            attributes=principal.attributes,
            enabled=principal.enabled,
        )

    def identity_by_name(self, name: str) -> Identity | None:
        principal_id = self._ids_by_name.get(name)
        return None if principal_id is None else self.identity_of(principal_id)

    def credential(self, digest: bytes) -> Credential | None:
        """A credential that is held, whoever it belongs to."""
        return self._credentials.get(digest)

    def roles_with(self, *permissions: str) -> list[str]:
        """Names of the roles that hold any of these permissions, those with the least power first."""
        wanted = set(permissions)
        return self.by_size(
            role.name for role in self._roles.values() if wanted.intersection(role.permissions)
        )

    def by_size(self, names: Iterable[str]) -> list[str]:
        """Role names in order of power: without wildcards first, then with fewer permissions."""
        permissions = {role.name: role.permissions for role in self._roles.values()}

        def power(name: str) -> tuple[int, int, str]:
            held = permissions.get(name, [])
            return sum(text.count("*") for text in held), len(held), name

        return sorted(names, key=power)

    def _with_groups(self, principal: PrincipalRow) -> list[PrincipalRow]:
        """The principal, then every enabled group above it, each once."""
        found = {principal.id: principal}
        queue = list(principal.group_ids)
        while queue:
            group = self._principals.get(queue.pop())
            if group is not None and group.id not in found and group.enabled:
                found[group.id] = group
                queue.extend(group.group_ids)
        return list(found.values())

    def _roles_of(self, principal: PrincipalRow) -> list[RoleRow]:
        return [self._roles[role_id] for role_id in principal.role_ids if role_id in self._roles]

    def _may_be_in_database(self, digest: bytes) -> bool:
        fingerprint = fingerprint_of(digest)
        return fingerprint in self._absent_added or self._is_absent(fingerprint)

    def _is_absent(self, fingerprint: int) -> bool:
        position = bisect_left(self._absent, fingerprint)
        return position < len(self._absent) and bool(self._absent[position] == fingerprint)

    @property
    def sizes(self) -> dict[str, int]:
        return {
            "credentials": len(self._credentials),
            "principals": len(self._principals),
            "absent": len(self._absent) + len(self._absent_added),
        }

    def emptied(self) -> "Directory":
        """A new directory with the same limit, pepper and static identities, and nothing else."""
        other = Directory(self._pepper, self.limit)
        other._static = self._static
        return other

    # --- writing -------------------------------------------------------------------------
    def put_static(self, digest: bytes, identity: Identity) -> None:
        """Add an identity that is not in the database (a key from the environment)."""
        self._static[digest] = identity

    def put_roles(self, rows: Iterable[RoleRow]) -> None:
        """Replace every role."""
        self._roles = {row.id: row for row in rows}
        self._identities.clear()

    def put_principal(self, row: PrincipalRow) -> None:
        before = self._principals.get(row.id)
        if before == row:
            return
        if before is not None and self._ids_by_name.get(before.name) == row.id:
            del self._ids_by_name[before.name]
        self._principals[row.id] = row
        self._ids_by_name[row.name] = row.id
        self._identities.clear()

    def drop_principal(self, principal_id: int) -> None:
        row = self._principals.pop(principal_id, None)
        if row is not None and self._ids_by_name.get(row.name) == principal_id:
            del self._ids_by_name[row.name]
        self._identities.clear()

    def put_credential(self, row: CredentialRow) -> None:
        digest = bytes.fromhex(row.digest)
        self.drop_credential(row.id)
        try:
            credential = _credential(row)
        except (ValueError, TypeError) as error:
            # Validated on save; one that got through all the same is good for nothing, and spoils no other.
            logger.error("credential %s can't be read and is refused: %s", row.public_id, error)
            return
        holder = self._credentials.get(digest)
        if holder is not None:
            self.drop_credential(holder.id)
        if self._keys_held is not None:
            self._keys_held[row.principal_id] += 1
        while self._credentials and len(self._credentials) >= self.limit:
            self._evict_oldest()
        self._credentials[digest] = credential
        self._digests[row.id] = digest

    def drop_credential(self, credential_id: int) -> None:
        digest = self._digests.pop(credential_id, None)
        if digest is not None:
            credential = self._credentials.pop(digest)
            self._identities.pop(digest, None)
            if self._keys_held is not None:
                self._keys_held[credential.principal_id] -= 1

    def put_absent(self, fingerprints: Any) -> None:
        """Replace the fingerprints (a sorted sequence of 64-bit integers) of credentials not held."""
        self._absent = fingerprints
        self._absent_added = set()

    def _evict_oldest(self) -> None:
        if self._keys_held is None:
            self._keys_held = Counter(each.principal_id for each in self._credentials.values())
        digest = next(iter(self._credentials))
        credential = self._credentials[digest]
        self.drop_credential(credential.id)
        fingerprint = fingerprint_of(digest)
        if not self._is_absent(fingerprint):
            self._absent_added.add(fingerprint)
        if self._keys_held[credential.principal_id] <= 0:
            del self._keys_held[credential.principal_id]
            principal = self._principals.get(credential.principal_id)
            # Its rows come back with the look-up of its key; those of a group are others' too.
            if principal is not None and principal.kind != "group":
                self.drop_principal(principal.id)


def fingerprint_of(digest: bytes) -> int:
    """The first 64 bits of a digest: two credentials share one with a chance of n²/2^65."""
    return int.from_bytes(digest[:8], "big")


def _credential(row: CredentialRow) -> Credential:
    return Credential(
        id=row.id,
        public_id=row.public_id,
        name=row.name,
        principal_id=row.principal_id,
        expires_at=NEVER if row.expires_at is None else row.expires_at,
        revoked_at=NEVER if row.revoked_at is None else row.revoked_at,
        scopes=_frozen(row.scopes),
        networks=tuple(ip_network(text) for text in row.networks),
    )


def _grant_entry(row: GrantRow, holder: str) -> GrantEntry:
    expires_at = NEVER if row.expires_at is None else row.expires_at
    return GrantEntry(row.id, row.asset_id, _frozen(row.actions), expires_at, row.condition, holder)
