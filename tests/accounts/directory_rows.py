"""Rows of the directory, short to write."""

from typing import Any

from accounts.digests import digest_secret
from accounts.directory import CredentialRow, Directory, GrantRow, PrincipalRow, RoleRow

PEPPER = b"pepper of the tests"


def secret_of(key_id: int) -> bytes:
    return b"gw_test_%d_secret" % key_id


def digest_of(key_id: int) -> bytes:
    return digest_secret(secret_of(key_id), PEPPER)


def key(key_id: int, principal_id: int = 1, digest: bytes | None = None, **fields: Any) -> CredentialRow:
    row = CredentialRow(
        id=key_id,
        digest=(digest or digest_of(key_id)).hex(),
        public_id=f"public-{key_id}",
        name=f"key-{key_id}",
        principal_id=principal_id,
        expires_at=None,
        revoked_at=None,
        scopes=[],
        networks=[],
    )
    return row._replace(**fields)


def principal(principal_id: int = 1, name: str = "", **fields: Any) -> PrincipalRow:
    row = PrincipalRow(principal_id, name or f"principal-{principal_id}", "user", True, [], [], {}, [])
    return row._replace(**fields)


def group(group_id: int, **fields: Any) -> PrincipalRow:
    return principal(group_id, f"group-{group_id}", kind="group", **fields)


def grant(asset_id: int = 7, *actions: str, grant_id: int = 1, **fields: Any) -> GrantRow:
    return GrantRow(grant_id, asset_id, list(actions) or ["read"], None, "")._replace(**fields)


def role(role_id: int, name: str, *permissions: str) -> RoleRow:
    return RoleRow(role_id, name, list(permissions))


def directory(*rows: Any, limit: int = 1000) -> Directory:
    """A directory of these rows, in whatever order they come."""
    made = Directory(PEPPER, limit)
    made.put_roles([row for row in rows if isinstance(row, RoleRow)])
    for row in rows:
        if isinstance(row, PrincipalRow):
            made.put_principal(row)
        elif isinstance(row, CredentialRow):
            made.put_credential(row)
    return made
