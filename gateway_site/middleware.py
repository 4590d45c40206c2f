"""Response headers of the control plane. The data plane writes its own (see pipeline/headers.py)."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from gateway_site.errors import database_unavailable
from routing.pipeline.headers import SECURITY_HEADERS
from routing.pipeline.ids import new_uuid, request_id_from

# 'unsafe-eval': the admin theme's Alpine compiles the expressions in its attributes with Function().
# Inline styles: Alpine and the theme's scroll bars set style attributes, and the theme writes one <style>.
# No inline script runs, nothing is loaded from elsewhere, no page frames the admin or is framed by it.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-src 'none'",
        "frame-ancestors 'none'",
    )
)
# A page may be told about its own requests' origin, or its forms' CSRF check would fail.
ADMIN_REFERRER_POLICY = "same-origin"


class ControlPlaneHeaders:
    """Give every request an id and every response the security headers; the admin has a CSP of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID")
        request.request_id = request_id_from(given.encode() if given else None) or new_uuid()  # type: ignore[attr-defined]
        response = self.get_response(request)
        headers = response.headers
        headers["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        if request.path.startswith(("/admin", "/static")):
            headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
            headers["Referrer-Policy"] = ADMIN_REFERRER_POLICY
        if request.path.startswith("/static"):
            # Files that every browser may keep.
            headers.setdefault("Cache-Control", "public, max-age=3600")
        for name, value in SECURITY_HEADERS:
            headers.setdefault(name.decode().title(), value.decode())
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return database_unavailable(request, error)
