"""Say in a record of the control plane where something came from."""

from typing import Any

from django.http import HttpRequest

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
