"""Answer somebody who is locked out: a page in the admin, the envelope elsewhere. The same for every name."""

from math import ceil
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from gateway_site.errors import LOGIN_LOCKED_OUT, is_admin
from gateway_site.logins.attempts import Lockout
from routing.envelope import error_body


def answer_lockout(request: HttpRequest, original: Any = None, credentials: Any = None) -> HttpResponse:
    """429 with Retry-After; called by the middleware of axes."""
    seconds = _seconds_left(getattr(request, "login_lockout", None))
    response = _page(request, seconds) if is_admin(request) else _envelope(request)
    response["Retry-After"] = str(seconds)
    response["Cache-Control"] = "no-store"
    return response


def _seconds_left(lockout: Lockout | None) -> int:
    if lockout is None:
        # It ended, or was lifted, while this attempt was being refused.
        return 1
    return min(
        max(1, ceil((lockout.ends - timezone.now()).total_seconds())), settings.GATEWAY_LOGIN_LOCKOUT_SECONDS
    )


def _page(request: HttpRequest, seconds: int) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": "Too many failed sign-ins",
        "minutes": ceil(seconds / 60),
        "seconds": seconds,
    }
    return TemplateResponse(request, "admin/logins/locked_out.html", context, status=429).render()


def _envelope(request: HttpRequest) -> HttpResponse:
    status, code, message = LOGIN_LOCKED_OUT
    body = error_body(code, message, getattr(request, "request_id", ""))
    return HttpResponse(body, status=status, content_type="application/json")
