"""Turn what happens in the control plane into audit records: changes, logins, lockouts.

The rooms know nothing of each other: they send Django's signals, and this module, which may know
both ends, hands them to the recorder.
"""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import DatabaseError, models, transaction
from django.http import HttpRequest
from django.utils.module_loading import import_string
from simple_history.models import HistoricalRecords
from simple_history.signals import post_create_historical_record

from auditlog import recorder
from auditlog.configuration import redaction_from_settings

_VERBS = {"+": "created", "~": "changed", "-": "deleted"}
# Values of such fields are never written out, only that they changed.
_SECRET_WORDS = ("secret", "password", "digest", "token", "private")
# Set on every save; they say nothing that the record's own time doesn't.
_NOISE = frozenset({"created_at", "updated_at", "last_login"})


def connect() -> None:
    """Connect all signals; called once, when the applications are ready."""
    post_create_historical_record.connect(_row_changed, dispatch_uid="audit-row")
    user_logged_in.connect(_logged_in, dispatch_uid="audit-login")
    user_logged_out.connect(_logged_out, dispatch_uid="audit-logout")
    user_login_failed.connect(_login_failed, dispatch_uid="audit-login-failed")
    try:
        locked_out = import_string("axes.signals.user_locked_out")
    except (ImportError, RuntimeError):
        return
    locked_out.connect(_locked_out, dispatch_uid="audit-locked-out")


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
        **_origin(getattr(HistoricalRecords.context, "request", None)),
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


def _logged_in(sender: Any, request: HttpRequest | None, user: Any, **_: Any) -> None:
    recorder.record("login_succeeded", {"principal": str(user), "principal_id": user.pk, **_origin(request)})


def _logged_out(sender: Any, request: HttpRequest | None, user: Any, **_: Any) -> None:
    if user is not None:
        recorder.record("logout", {"principal": str(user), "principal_id": user.pk, **_origin(request)})


def _login_failed(
    sender: Any, credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    recorder.record("login_failed", {"principal": _claimed_name(credentials), **_origin(request)})


def _locked_out(sender: Any, request: HttpRequest, username: str = "", **_: Any) -> None:
    name = _claimed_name({"username": username})
    recorder.record("login_locked_out", {"principal": name, **_origin(request)})


def _claimed_name(credentials: Mapping[str, Any]) -> str:
    """The name if somebody has it. Anything else may be a password in the wrong field: only its hash."""
    users = get_user_model()
    name = str(credentials.get(users.USERNAME_FIELD) or credentials.get("username") or "")
    try:
        known = users._default_manager.filter(**{users.USERNAME_FIELD: name}).exists()
    except (DatabaseError, ValueError):
        known = False
    return name if known else redaction_from_settings().apply("hash", name)


def _origin(request: HttpRequest | None) -> dict[str, Any]:
    """Where a change came from; a command has no request."""
    if request is None:
        return {"origin": "command"}
    return {
        "origin": "control_plane",
        "request_id": getattr(request, "request_id", None),
        "method": request.method,
        "path": request.path,
        "client_ip": request.META.get("REMOTE_ADDR"),
        "user_agent": request.META.get("HTTP_USER_AGENT"),
    }


def _snake(name: str) -> str:
    """ApiKey -> api_key."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
