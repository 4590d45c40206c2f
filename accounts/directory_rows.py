"""Read the directory's rows from the database. The only ORM code behind the data plane's credentials.

Every function is synchronous and meant for a thread of its own.
"""

from array import array
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from accounts.directory import CredentialRow, GrantRow, PrincipalRow, RoleRow, fingerprint_of
from accounts.models import ApiKey, Grant, Membership, Principal, Role

CHUNK = 2000


class DirectoryRows(NamedTuple):
    roles: list[RoleRow]
    principals: Iterable[PrincipalRow]
    credentials: Iterable[CredentialRow]
    absent: Any  # sorted array of fingerprints of the credentials beyond the limit


def read_roles() -> list[RoleRow]:
    return [RoleRow(*row) for row in Role.objects.order_by("id").values_list("id", "name", "permissions")]


def read_everything(limit: int) -> DirectoryRows:
    """Every role; the newest `limit` credentials with their principals; fingerprints of the others."""
    # Oldest first, as they are evicted from the front.
    credentials = list(read_credentials(limit))[::-1]
    total = ApiKey.objects.count()
    if total <= limit:
        return DirectoryRows(read_roles(), list(read_principals(None)), credentials, array("Q"))
    wanted = {row.principal_id for row in credentials} | _group_ids()
    principals = list(read_principals(sorted(wanted)))
    return DirectoryRows(read_roles(), principals, credentials, _absent_fingerprints(credentials))


def read_credentials(limit: int | None = None, ids: Iterable[int] | None = None) -> Iterator[CredentialRow]:
    # Newest use first would be better than newest key; keys rarely used are looked up on demand.
    keys = ApiKey.objects.order_by("-id")
    if ids is not None:
        keys = keys.filter(pk__in=list(ids))
    return _credential_rows(keys if limit is None else keys[:limit])


def find_credential(digest: bytes) -> CredentialRow | None:
    return next(_credential_rows(ApiKey.objects.filter(digest=digest)), None)


def _credential_rows(keys: Any) -> Iterator[CredentialRow]:
    columns = keys.values_list(
        "id",
        "digest",
        "public_id",
        "name",
        "principal_id",
        "expires_at",
        "revoked_at",
        "scopes",
        "allowed_cidrs",
    )
    for key_id, digest, public_id, name, principal_id, expires, revoked, scopes, networks in columns.iterator(
        CHUNK
    ):
        yield CredentialRow(
            key_id,
            bytes(digest).hex(),
            public_id,
            name,
            principal_id,
            _epoch(expires),
            _epoch(revoked),
            scopes,
            networks,
        )


def read_principals(ids: list[int] | None) -> Iterator[PrincipalRow]:
    """Rows of these principals, or of all; three queries a chunk."""
    if ids is None:
        yield from _principal_rows(Principal.objects.all(), None)
        return
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        yield from _principal_rows(Principal.objects.filter(pk__in=part), part)


def _principal_rows(principals: Any, ids: list[int] | None) -> Iterator[PrincipalRow]:
    roles = _grouped(Principal.roles.through.objects, "principal_id", ids, "role_id")
    groups = _grouped(Membership.objects, "member_id", ids, "group_id")
    grants = _grouped(
        Grant.objects, "principal_id", ids, "id", "asset_id", "actions", "expires_at", "condition"
    )
    columns = principals.order_by("id").values_list("id", "name", "kind", "is_active", "attributes")
    for principal_id, name, kind, enabled, attributes in columns.iterator(CHUNK):
        yield PrincipalRow(
            principal_id,
            name,
            kind,
            enabled,
            [role_id for (role_id,) in roles.get(principal_id, ())],
            [group_id for (group_id,) in groups.get(principal_id, ())],
            attributes,
            [
                GrantRow(grant_id, asset_id, actions, _epoch(expires), condition)
                for grant_id, asset_id, actions, expires, condition in grants.get(principal_id, ())
            ],
        )


def _grouped(rows: Any, owner: str, ids: list[int] | None, *columns: str) -> dict[int, list[tuple[Any, ...]]]:
    if ids is not None:
        rows = rows.filter(**{f"{owner}__in": ids})
    grouped: dict[int, list[tuple[Any, ...]]] = {}
    for owner_id, *values in rows.values_list(owner, *columns).iterator(CHUNK):
        grouped.setdefault(owner_id, []).append(tuple(values))
    return grouped


def groups_above(principal_ids: Iterable[int]) -> set[int]:
    """Ids of every group that holds one of these principals, directly or through other groups."""
    found: set[int] = set()
    edge = set(principal_ids)
    while edge:
        edge = set(Membership.objects.filter(member_id__in=edge).values_list("group_id", flat=True)) - found
        found |= edge
    return found


def _group_ids() -> set[int]:
    return set(Principal.objects.filter(kind=Principal.Kind.GROUP).values_list("id", flat=True))


def _absent_fingerprints(held: list[CredentialRow]) -> Any:
    oldest_held = min(row.id for row in held) if held else 0
    digests = ApiKey.objects.all() if not held else ApiKey.objects.filter(pk__lt=oldest_held)
    rows = digests.values_list("digest", flat=True).iterator(CHUNK)
    return array("Q", sorted(fingerprint_of(bytes(digest)) for digest in rows))


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
