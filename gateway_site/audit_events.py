"""Turn what changes in the control plane into audit records.

The rooms know nothing of each other: they send Django's signals, and this module, which may know
both ends, hands them to the recorder.
"""

from typing import Any

from django.db import models, transaction
from simple_history.signals import post_create_historical_record

from accounts.keys import key_rotated
from accounts.models import ApiKey
from auditlog import recorder
from gateway_site.audit_origin import change_fields

_VERBS = {"+": "created", "~": "changed", "-": "deleted"}
# Values of such fields are never written out, only that they changed.
_SECRET_WORDS = ("secret", "password", "digest", "token", "private")
# Set on every save; they say nothing that the record's own time doesn't.
_NOISE = frozenset({"created_at", "updated_at", "last_login"})


def connect() -> None:
    """Connect all signals; called once, when the applications are ready."""
    post_create_historical_record.connect(_row_changed, dispatch_uid="audit-row")
    key_rotated.connect(_key_rotated, dispatch_uid="audit-key-rotated")


def _row_changed(
    sender: type[models.Model],
    instance: models.Model,
    history_instance: Any,
    history_user: Any = None,
    **_: Any,
) -> None:
    changes = _changes(history_instance)
    if not changes and history_instance.history_type == "~":
        # Nothing that the history keeps: a password or a list of other rows has a record of its own.
        return
    fields = {**change_fields(instance), "changes": changes}
    if history_user is not None:
        fields |= {"principal": str(history_user), "principal_id": history_user.pk}
    if history_instance.history_change_reason:
        fields["reason"] = history_instance.history_change_reason
    event = _event(instance, history_instance.history_type, changes)
    # What is rolled back did not happen.
    transaction.on_commit(lambda: recorder.record(event, fields))


def _event(instance: models.Model, history_type: str, changes: dict[str, Any]) -> str:
    if isinstance(instance, ApiKey) and history_type == "~" and instance.revoked_at is not None:
        revoked = changes.get("revoked_at", {})
        if revoked.get("old") is None and revoked.get("new") is not None:
            return "api_key_revoked"
    return f"{_snake(instance._meta.object_name or '')}_{_VERBS[history_type]}"


def _key_rotated(sender: Any, key: ApiKey, successor: ApiKey, **_: Any) -> None:
    """The rows of both have records of their own; this one says that they belong together."""
    fields = {
        **change_fields(key),
        "successor": successor.public_id,
        "successor_id": str(successor.pk),
        "works_until": str(key.expires_at),
    }
    transaction.on_commit(lambda: recorder.record("api_key_rotated", fields))


def _changes(history_instance: Any) -> dict[str, Any]:
    """Old and new value of every changed field; of a new or deleted row its values."""
    if history_instance.history_type != "~":
        return _values(history_instance)
    previous = history_instance.prev_record
    if previous is None:
        # Made by a migration: what it was before is in no history.
        return {name: {"new": value} for name, value in _values(history_instance).items()}
    lists_of_rows = [field.name for field in history_instance._history_m2m_fields]
    delta = history_instance.diff_against(previous, excluded_fields=lists_of_rows)
    return {
        change.field: {"old": _shown(change.field, change.old), "new": _shown(change.field, change.new)}
        for change in delta.changes
        if change.field not in _NOISE
    }


def _values(history_instance: Any) -> dict[str, Any]:
    values = {field.name: field.value_from_object(history_instance) for field in _tracked(history_instance)}
    return {name: _shown(name, value) for name, value in values.items() if value not in (None, "", [], {})}


def _tracked(history_instance: Any) -> list[models.Field]:
    return [
        field
        for field in type(history_instance).tracked_fields
        if field.name not in _NOISE and field.concrete
    ]


def _shown(name: str, value: Any) -> Any:
    if any(word in name for word in _SECRET_WORDS):
        return "***"
    if isinstance(value, str | int | float | bool | None | list | dict):
        return value
    return str(value)


def _snake(name: str) -> str:
    """ApiKey -> api_key."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
