"""Turn what changes in the control plane into audit records.

The rooms know nothing of each other: they send Django's signals, and this module, which may know
both ends, hands them to the recorder.
"""

from typing import Any

from django.db import models, transaction
from simple_history.models import HistoricalRecords
from simple_history.signals import post_create_historical_record

from auditlog import recorder
from gateway_site.audit_origin import origin_of

_VERBS = {"+": "created", "~": "changed", "-": "deleted"}
# Values of such fields are never written out, only that they changed.
_SECRET_WORDS = ("secret", "password", "digest", "token", "private")
# Set on every save; they say nothing that the record's own time doesn't.
_NOISE = frozenset({"created_at", "updated_at", "last_login"})


def connect() -> None:
    """Connect all signals; called once, when the applications are ready."""
    post_create_historical_record.connect(_row_changed, dispatch_uid="audit-row")


def _row_changed(
    sender: type[models.Model],
    instance: models.Model,
    history_instance: Any,
    history_user: Any = None,
    **_: Any,
) -> None:
    fields = {
        "object": instance._meta.label,
        "object_id": str(instance.pk),
        "object_name": str(instance),
        "changes": _changes(history_instance),
        **origin_of(getattr(HistoricalRecords.context, "request", None)),
    }
    if history_user is not None:
        fields |= {"principal": str(history_user), "principal_id": history_user.pk}
    if history_instance.history_change_reason:
        fields["reason"] = history_instance.history_change_reason
    event = f"{_snake(instance._meta.object_name or '')}_{_VERBS[history_instance.history_type]}"
    # What is rolled back did not happen.
    transaction.on_commit(lambda: recorder.record(event, fields))


def _changes(history_instance: Any) -> dict[str, Any]:
    """Old and new value of every changed field; of a new or deleted row its values."""
    if history_instance.history_type != "~":
        values = {
            field.name: field.value_from_object(history_instance) for field in _tracked(history_instance)
        }
        return {
            name: _shown(name, value) for name, value in values.items() if value not in (None, "", [], {})
        }
    previous = history_instance.prev_record
    if previous is None:
        return {}
    delta = history_instance.diff_against(previous)
    return {
        change.field: {"old": _shown(change.field, change.old), "new": _shown(change.field, change.new)}
        for change in delta.changes
        if change.field not in _NOISE
    }


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
