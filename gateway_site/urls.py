"""URLs of the control plane; everything else is the data plane's (see asgi.py)."""

from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from gateway_site import health
from gateway_site.metrics_api import Metrics


@transaction.non_atomic_requests
def login(request: HttpRequest) -> HttpResponse:
    """The admin's own, without a transaction around it: a failure has to stay counted."""
    return admin.site.login(request)


urlpatterns = [
    path("healthz", health.healthz),
    path("health", health.health),
    path("v1/health", health.readiness),
    path("metrics", Metrics.as_view()),
    path("v1/metrics", Metrics.as_view()),
    path("", include("auditlog.api.urls")),
    path("", include("routing.api.urls")),
    path("admin/login/", login),
    path("admin/", admin.site.urls),
]

handler400 = "gateway_site.errors.bad_request"
handler403 = "gateway_site.errors.permission_denied"
handler404 = "gateway_site.errors.page_not_found"
handler500 = "gateway_site.errors.server_error"
