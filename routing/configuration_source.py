"""Read one consistent revision, or what has changed since one, from the database. Synchronous.

Runs in the replica's own thread; everything that comes out is plain values.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from accounts import directory_rows
from accounts.directory import CredentialRow, PrincipalRow, RoleRow
from accounts.directory_rows import DirectoryRows
from accounts.revisions import Change, current_revision
from routing.snapshot import Rows
from routing.snapshot_rows import read_rows

# More changes than this at once: reading everything is simpler and not slower.
INCREMENTAL_LIMIT = 2_000


@dataclass(slots=True)
class Everything:
    """One revision, whole."""

    rows: Rows
    directory: DirectoryRows


@dataclass(slots=True)
class Difference:
    """What a later revision changed; None and empty where it changed nothing."""

    revision: int
    rows: Rows | None = None
    roles: list[RoleRow] | None = None
    principals: list[PrincipalRow] = field(default_factory=list)
    gone_principals: list[int] = field(default_factory=list)
    credentials: list[CredentialRow] = field(default_factory=list)
    gone_credentials: list[int] = field(default_factory=list)


@contextmanager
def consistent_read() -> Iterator[None]:
    """See the database as of one moment, without taking any lock that a writer would wait for."""
    if connection.in_atomic_block:
        yield
        return
    begin = {
        "postgresql": "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "sqlite": "BEGIN DEFERRED",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(begin)
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


@contextmanager
def fresh_connection() -> Iterator[None]:
    """Leave no connection behind that the database has ended: the next try gets a new one."""
    close_old_connections()
    try:
        yield
    except (DatabaseError, InterfaceError):
        connection.close()
        raise


def read_revision() -> int:
    return current_revision()


def read_everything(limit: int) -> Everything:
    """`limit` is how many credentials to hold in memory."""
    with consistent_read():
        revision = current_revision()
        return Everything(read_rows(revision), directory_rows.read_everything(limit))


def read_difference(since: int) -> Difference | None:
    """What changed after revision `since`; None when that is too much or too long ago to tell."""
    with consistent_read():
        revision = current_revision()
        changes = Change.objects.filter(revision__gt=since).values_list("revision", "kind", "object_id")
        found = list(changes[: INCREMENTAL_LIMIT + 1])
        seen = {number for number, _, _ in found}
        if len(found) > INCREMENTAL_LIMIT or len(seen) != revision - since:
            return None
        return _read_changed(revision, {(kind, object_id) for _, kind, object_id in found})


def _read_changed(revision: int, changes: set[tuple[str, str]]) -> Difference:
    difference = Difference(revision)
    kinds = {kind for kind, _ in changes}
    principal_ids = _ids(changes, "accounts.Principal")
    key_ids = _ids(changes, "accounts.ApiKey")
    if any(kind.startswith("routing.") for kind in kinds) or kinds & {"accounts.Asset", "accounts.Role"}:
        difference.rows = read_rows(revision)
    if "accounts.Role" in kinds:
        difference.roles = directory_rows.read_roles()
    if key_ids:
        difference.credentials = list(directory_rows.read_credentials(ids=key_ids))
        difference.gone_credentials = sorted(key_ids - {row.id for row in difference.credentials})
        # A key may be the first of a principal that is not held yet.
        principal_ids |= {row.principal_id for row in difference.credentials}
    if principal_ids:
        wanted = principal_ids | directory_rows.groups_above(principal_ids)
        difference.principals = list(directory_rows.read_principals(sorted(wanted)))
        difference.gone_principals = sorted(principal_ids - {row.id for row in difference.principals})
    return difference


def _ids(changes: set[tuple[str, str]], kind: str) -> set[int]:
    return {int(object_id) for changed, object_id in changes if changed == kind}


class FoundCredential(NamedTuple):
    """A credential beyond the index as of one revision, with its principal and the groups above it."""

    revision: int
    credential: CredentialRow
    principals: list[PrincipalRow]


def find_credential(digest: bytes) -> FoundCredential | None:
    """Look a credential up; for a thread that nobody else keeps connections in order for."""
    with fresh_connection(), consistent_read():
        revision = current_revision()
        row = directory_rows.find_credential(digest)
        if row is None:
            return None
        ids = {row.principal_id} | directory_rows.groups_above({row.principal_id})
        return FoundCredential(revision, row, list(directory_rows.read_principals(sorted(ids))))
