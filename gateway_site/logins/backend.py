"""Check a name and password for django.contrib.auth, unless too many have failed."""

import threading
from typing import Any

from asgiref.sync import sync_to_async
from axes.backends import AxesBackend
from axes.exceptions import AxesBackendPermissionDenied
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from gateway_site.errors import is_admin
from gateway_site.logins.attempts import Attempt, attempt_of, forget, reserve

# Chosen by a hash that differs from process to process: nobody can aim at somebody else's.
_turns = tuple(threading.Lock() for _ in range(64))


class PasswordBackend(AxesBackend):
    """Django's own, behind the count of failures."""

    @sensitive_variables("password", "username", "name")
    def authenticate(
        self, request: Any, username: str | None = None, password: str | None = None, **fields: Any
    ) -> Any:
        """The user, or None. Raises AxesBackendPermissionDenied, at which Django asks no other backend."""
        name = fields.get(get_user_model().USERNAME_FIELD) if username is None else username
        if name is None or password is None:
            return None
        if request is None:
            # A command or a test: nobody gets there over the network.
            return self._check(None, name, password)
        request = plain_request(request)
        attempt = attempt_of(request, name)
        # One client may send right passwords side by side: each is counted until it is found right.
        with _turn_of(attempt):
            if reserve(attempt, timezone.now()) is not None:
                request.login_refused = True
                raise AxesBackendPermissionDenied("locked out")
            user = self._check(request, name, password)
            if user is None or (is_admin(request) and not user.is_staff):
                # The admin's page refuses whoever may not sign in there as if the password were wrong:
                # uncounted, it would be told from a wrong one by its sixth try.
                return None
            forget(attempt)
        return user

    async def aauthenticate(self, request: Any, **credentials: Any) -> Any:
        # ModelBackend's own would look at the password without a look at the count.
        return await sync_to_async(self.authenticate)(request, **credentials)

    @sensitive_variables("password", "name")
    def _check(self, request: HttpRequest | None, name: str, password: str) -> Any:
        # PostgreSQL refuses NUL in a text. Nobody has an empty name: it takes the time of any other.
        name = "" if "\0" in name else name
        return ModelBackend.authenticate(self, request, username=name, password=password)


def plain_request(request: Any) -> HttpRequest:
    """Django's request, which the middleware sees, out of the one that REST framework wraps around it."""
    return getattr(request, "_request", request)


def _turn_of(attempt: Attempt) -> threading.Lock:
    return _turns[hash(attempt) % len(_turns)]
