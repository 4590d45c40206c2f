"""Say in a record of the control plane where something came from, and who did it."""

from typing import Any

from django.db import models
from django.http import HttpRequest
from simple_history.models import HistoricalRecords

from routing.control_client import client_of


def origin_of(request: HttpRequest | None) -> dict[str, Any]:
    """Request id, client and path; a command has no request."""
    if request is None:
        return {"origin": "command"}
    return {
        "origin": "control_plane",
        "request_id": getattr(request, "request_id", None),
        "method": request.method,
        "path": request.path,
        "client_ip": client_of(request) or None,
        "user_agent": request.META.get("HTTP_USER_AGENT"),
    }


def current_request() -> HttpRequest | None:
    """The request of the control plane that this thread answers; None in a command."""
    return getattr(HistoricalRecords.context, "request", None)


def change_fields(instance: models.Model) -> dict[str, Any]:
    """What every record of a change has: which row, from where, and by whom."""
    request = current_request()
    user = getattr(request, "user", None)
    fields = {
        "object": instance._meta.label,
        "object_id": str(instance.pk),
        "object_name": str(instance),
        **origin_of(request),
    }
    if user is not None and user.is_authenticated:
        fields |= {"principal": str(user), "principal_id": user.pk}
    return fields
