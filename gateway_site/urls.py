"""URLs of the control plane; everything else is the data plane's (see asgi.py)."""

from django.contrib import admin
from django.urls import path

from gateway_site import health

urlpatterns = [
    path("healthz", health.healthz),
    path("health", health.health),
    path("v1/health", health.readiness),
    path("admin/", admin.site.urls),
]
