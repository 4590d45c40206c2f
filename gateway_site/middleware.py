"""Response headers of the control plane. The data plane writes its own (see pipeline/headers.py)."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

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
PERMISSIONS_POLICY = "geolocation=(), microphone=(), camera=()"


class ControlPlaneHeaders:
    """Add the admin's content security policy to every response that doesn't bring one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        if request.path.startswith("/admin"):
            # Pages of the admin hold personal data: no shared or disk cache keeps them.
            response.headers.setdefault("Cache-Control", "no-store")
        return response
