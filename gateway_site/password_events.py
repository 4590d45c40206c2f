"""Record that a password was set, replaced or removed, and by whom; never the password or its hash."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.hashers import is_password_usable
from django.db import transaction
from django.db.models.signals import post_save, pre_save

from accounts.models import Principal
from auditlog import recorder
from gateway_site.audit_origin import change_fields


def connect() -> None:
    pre_save.connect(_remember, sender=Principal, dispatch_uid="audit-password-before")
    post_save.connect(_record, sender=Principal, dispatch_uid="audit-password-after")


def _remember(sender: Any, instance: Principal, update_fields: Iterable[str] | None = None, **_: Any) -> None:
    """What is stored before the save. The history keeps no passwords to compare with."""
    if update_fields is not None and "password" not in update_fields:
        return
    stored = Principal.objects.filter(pk=instance.pk).values_list("password", flat=True).first()
    instance._stored_password = stored or ""  # type: ignore[attr-defined]


def _record(sender: Any, instance: Principal, update_fields: Iterable[str] | None = None, **_: Any) -> None:
    old: str | None = instance.__dict__.pop("_stored_password", None)
    if old is None or old == instance.password:
        return
    had, has = bool(old) and is_password_usable(old), is_password_usable(instance.password)
    if not had and not has:
        return
    # How Django upgrades an old hash when somebody signs in: no password was set.
    upgraded = had and has and instance._password is None and set(update_fields or ()) == {"password"}
    event = "password_hash_upgraded" if upgraded else "password_changed"
    fields = change_fields(instance)
    if not upgraded:
        fields["action"] = ("replaced" if has else "removed") if had else "set"
    transaction.on_commit(lambda: recorder.record(event, fields))
