"""Record what was added to a row's list of other rows, or taken from it: roles, permissions, groups.

The history of a row knows such lists by numbers, of some fields, and from one side only.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.contrib.auth.models import Permission
from django.db import connection, models, transaction
from django.db.models.signals import m2m_changed

from accounts.models import Principal
from auditlog import recorder
from gateway_site.audit_origin import change_fields
from routing.configuration_file.writing import rows_linked
from routing.models import Route

LISTS = (
    (Principal, "roles"),
    (Principal, "user_permissions"),
    (Principal, "groups"),
    (Route, "required_roles"),
)


class _Change:
    """One field of one row within one transaction: `set()` removes and adds, and is one change."""

    def __init__(self, owner: models.Model, field: str) -> None:
        self.owner, self.field = owner, field
        self.old = _names(owner, field)
        self.fields = change_fields(owner)
        if reason := getattr(owner, "_change_reason", None):
            self.fields["reason"] = reason

    def record(self) -> None:
        """Once committed: what a savepoint took back in between is not part of it."""
        new = _names(self.owner, self.field)
        if self.old != new:
            changes = {self.field: {"old": self.old, "new": new}}
            event = f"{self.owner._meta.model_name}_changed"
            recorder.record(event, {**self.fields, "changes": changes})

    def is_pending(self) -> bool:
        """Whether the transaction that it was made in still goes on: a rollback forgets it."""
        # From its end: an import may have thousands before it.
        return any(callback == self.record for _, callback, _ in reversed(connection.run_on_commit))


def connect() -> None:
    for owner, field in LISTS:
        m2m_changed.connect(
            partial(_relinked, owner, field),
            sender=getattr(owner, field).through,
            weak=False,
            dispatch_uid=f"audit-list-{owner._meta.label}-{field}",
        )
    rows_linked.connect(_linked, dispatch_uid="audit-list-in-bulk")


def _relinked(
    owner: type[models.Model],
    field: str,
    sender: Any,
    instance: models.Model,
    action: str,
    reverse: bool,
    pk_set: set[Any] | None,
    **_: Any,
) -> None:
    """Called before and after each step of a change; `instance` is at the far side when `reverse`."""
    if not action.startswith("pre_"):
        return
    known: dict[tuple[str, Any], _Change] = getattr(instance, "_list_changes", {})
    pending = {key: change for key, change in known.items() if change.is_pending()}
    for row in _owners(owner, field, instance, reverse, pk_set):
        if (field, row.pk) not in pending:
            pending[field, row.pk] = change = _Change(row, field)
            # Django has begun a transaction for the step, if there was none.
            transaction.on_commit(change.record, robust=True)
    instance._list_changes = pending  # type: ignore[attr-defined]


def _linked(
    sender: Any, row: models.Model, field: str, targets: Iterable[models.Model], reason: str, **_: Any
) -> None:
    """A new row's list, written in bulk past Django's signal."""
    changes = {field: {"old": [], "new": sorted(_name(each) for each in targets)}}
    fields = {**change_fields(row), "changes": changes, "reason": reason}
    event = f"{row._meta.model_name}_changed"
    transaction.on_commit(lambda: recorder.record(event, fields))


def _owners(
    owner: type[models.Model], field: str, instance: models.Model, reverse: bool, pk_set: set[Any] | None
) -> Iterable[models.Model]:
    if not reverse:
        return [instance]
    rows = owner._default_manager.all()
    return rows.filter(**{field: instance}) if pk_set is None else rows.filter(pk__in=pk_set)


def _names(row: models.Model, field: str) -> list[str]:
    """As stored now, past whatever was prefetched; none of a row that is gone."""
    fresh = type(row)._default_manager.only("pk").filter(pk=row.pk).first()
    return sorted(_name(each) for each in getattr(fresh, field).all()) if fresh else []


def _name(row: models.Model) -> str:
    if isinstance(row, Permission):
        return f"{row.content_type.app_label}.{row.codename}"
    return str(row)
