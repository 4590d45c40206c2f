"""The admin's page of who is locked out of signing in, with the way to let them in again."""

from datetime import datetime
from math import ceil
from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin

from accounts.models import Principal
from gateway_site.logins.attempts import Lockout, lockouts, unlock
from gateway_site.logins.events import record_unlock
from gateway_site.logins.names import name_key


@admin.register(AccessAttempt)
class LockoutAdmin(ModelAdmin):
    """One list. The rows behind it are counters: nobody adds or edits them, and to delete is to unlock."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("", view(self.lockouts_page), name="axes_accessattempt_changelist"),
            path("unlock/", view(require_POST(self.unlock)), name="axes_accessattempt_unlock"),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lockouts_page(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = timezone.now()
        context = {
            **self.admin_site.each_context(request),
            "title": "Sign-in lockouts",
            "rows": _rows(lockouts(now), now),
            "may_unlock": self.has_delete_permission(request),
        }
        return TemplateResponse(request, "admin/logins/lockouts.html", context)

    def unlock(self, request: HttpRequest) -> HttpResponse:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        key, address = request.POST.get("key") or None, request.POST.get("address", "")
        unlocked = unlock(key, address) if _is_listed(key, address) else []
        if unlocked:
            name = _names({key}).get(key, key) if key else None
            record_unlock(name, address, request.user, request)
            self.message_user(request, f"{name or 'Every name'} may sign in from {address} again.")
        else:
            self.message_user(request, "That lockout has ended already.")
        return HttpResponseRedirect(reverse("admin:axes_accessattempt_changelist"))


def _is_listed(key: str | None, address: str) -> bool:
    """Whether it is a lockout in force: a form that somebody made up forgets nothing else."""
    return any((each.name_key, each.address) == (key, address) for each in lockouts(timezone.now()))


def _rows(found: list[Lockout], now: datetime) -> list[dict[str, Any]]:
    names = _names({each.name_key for each in found})
    return [
        {
            "key": each.name_key or "",
            "name": names.get(each.name_key),
            "address": each.address,
            "failures": each.failures,
            "ends": each.ends,
            "minutes": ceil((each.ends - now).total_seconds() / 60),
        }
        for each in found
    ]


def _names(keys: set[str | None]) -> dict[str | None, str]:
    """Whose keys these are. Only those who may sign in here are looked through: there may be many others."""
    staff = Principal.objects.filter(is_staff=True).values_list("name", flat=True)
    found: dict[str | None, str] = {name_key(name): name for name in staff} if keys - {None} else {}
    return {key: name for key, name in found.items() if key in keys}
