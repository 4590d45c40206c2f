"""What axes asks and is told. Attempts are counted in attempts.py, before their password is looked at."""

from collections.abc import Mapping
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.signals import user_locked_out
from django.http import HttpRequest
from django.utils import timezone

from gateway_site.logins.attempts import attempt_of, lockout_of
from gateway_site.logins.backend import plain_request
from gateway_site.logins.names import claimed_name, name_key
from routing.control_client import client_of


class LoginHandler(AxesDatabaseHandler):
    """Its own counting is not used: it counts after the check, by user agent too, and keeps what was posted."""

    def is_locked(self, request: Any, credentials: Mapping[str, Any] | None = None) -> bool:
        name = typed_name(credentials or {})
        return lockout_of(attempt_of(plain_request(request), name), timezone.now()) is not None

    def user_login_failed(self, *_: Any, **__: Any) -> None:
        """See announce_lockout. Axes comes before every other receiver: its record would come first, too."""

    def user_logged_in(self, *_: Any, **__: Any) -> None:
        """The backend has forgotten this user's failures. Axes would forget those of the whole address."""

    def user_logged_out(self, *_: Any, **__: Any) -> None:
        """The audit log says who left."""


def announce_lockout(sender: Any, credentials: Mapping[str, Any], request: Any = None, **_: Any) -> None:
    """Tell the middleware and the audit log of a lockout: this failure began it, or came during it."""
    if request is None:
        return
    request = plain_request(request)
    name = typed_name(credentials)
    lockout = lockout_of(attempt_of(request, name), timezone.now())
    if lockout is None and not getattr(request, "login_refused", False):
        return
    request.login_lockout = lockout  # type: ignore[attr-defined]
    request.axes_locked_out = True  # type: ignore[attr-defined]
    user_locked_out.send("axes", request=request, username=claimed_name(name), ip_address=client_of(request))


def typed_name(credentials: Mapping[str, Any]) -> str:
    """The name among what was given to django.contrib.auth.authenticate."""
    return str(credentials.get("username") or credentials.get("name") or "")


def username_key(request: HttpRequest, credentials: Mapping[str, Any] | None = None) -> str:
    """What axes may know of a name."""
    return name_key(typed_name(credentials or {}))
