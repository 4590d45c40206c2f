"""Record who signed in, failed to, was locked out and was unlocked. Never a password, nor what may be one."""

from collections.abc import Mapping
from typing import Any

from axes.signals import user_locked_out
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import transaction
from django.http import HttpRequest

from auditlog import recorder
from auditlog.configuration import redaction_from_settings
from gateway_site.audit_origin import origin_of
from gateway_site.logins.axes_handler import announce_lockout, typed_name
from gateway_site.logins.names import claimed_name


def connect() -> None:
    """Connect the signals; called once, when the applications are ready."""
    user_logged_in.connect(_logged_in, dispatch_uid="audit-login")
    user_logged_out.connect(_logged_out, dispatch_uid="audit-logout")
    user_login_failed.connect(_login_failed, dispatch_uid="audit-login-failed")
    # After it, so that a failure is recorded before the lockout that it begins.
    user_login_failed.connect(announce_lockout, dispatch_uid="lockout")
    user_locked_out.connect(_locked_out, dispatch_uid="audit-locked-out")


def record_unlock(name: str | None, address: str | None, user: Any, request: HttpRequest | None) -> None:
    """`name` is one that somebody has, or a key; None means every name, and for `address` every address."""
    fields = {
        "object": "login",
        "object_name": name or "*",
        "address": redaction_from_settings().address(address) if address else "*",
        **origin_of(request),
    }
    if user is not None:
        fields |= {"principal": str(user), "principal_id": user.pk}
    transaction.on_commit(lambda: recorder.record("login_unlocked", fields))


def _logged_in(sender: Any, request: HttpRequest | None, user: Any, **_: Any) -> None:
    recorder.record(
        "login_succeeded", {"principal": str(user), "principal_id": user.pk, **origin_of(request)}
    )


def _logged_out(sender: Any, request: HttpRequest | None, user: Any, **_: Any) -> None:
    if user is not None:
        recorder.record("logout", {"principal": str(user), "principal_id": user.pk, **origin_of(request)})


def _login_failed(
    sender: Any, credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    if getattr(request, "login_refused", False):
        # No password was looked at: it is recorded as part of the lockout.
        return
    name = claimed_name(typed_name(credentials))
    recorder.record("login_failed", {"principal": name, **origin_of(request)})


def _locked_out(sender: Any, request: HttpRequest, username: str, **_: Any) -> None:
    """`username` is a claimed name already, not what was typed."""
    recorder.record("login_locked_out", {"principal": username, **origin_of(request)})
