"""The admin's sidebar, by room. Shows a link only where its page is registered and may be seen."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

_ROOMS = (
    (
        "Accounts",
        (
            ("accounts.Principal", "Principals", "group"),
            ("accounts.Role", "Roles", "badge"),
            ("accounts.ApiKey", "API keys", "key"),
            ("accounts.Asset", "Assets", "inventory_2"),
            ("accounts.Grant", "Grants", "verified_user"),
            ("axes.AccessAttempt", "Sign-in lockouts", "lock_clock"),
        ),
    ),
    (
        "Routing",
        (
            ("routing.Route", "Routes", "alt_route"),
            ("routing.Service", "Services", "dns"),
        ),
    ),
    (
        "Audit",
        (
            ("auditlog.AuditRecord", "Audit records", "receipt_long"),
            ("auditlog.ShipperStatus", "Audit deliveries", "local_shipping"),
        ),
    ),
    (
        "System",
        (
            ("routing.GatewaySettings", "Settings", "settings"),
            ("routing.Worker", "Workers", "memory"),
        ),
    ),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    registered = {model._meta.label: page for model, page in admin.site._registry.items()}
    groups: list[dict[str, Any]] = [
        {"items": [{"title": "Dashboard", "icon": "dashboard", "link": reverse("admin:index")}]}
    ]
    for title, entries in _ROOMS:
        items = [
            {"title": words, "icon": icon, "link": _list_url(registered[label].model)}
            for label, words, icon in entries
            if label in registered and registered[label].has_view_permission(request)
        ]
        if items:
            groups.append({"title": title, "separator": True, "items": items})
    return groups


def environment(request: HttpRequest) -> list[str]:
    """The badge beside the title: nobody should take one gateway for another."""
    return [settings.GATEWAY_ENV, "info" if settings.DEVELOPMENT else "danger"]


def _list_url(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
