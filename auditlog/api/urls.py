"""URLs of the audit API."""

from django.urls import path

from auditlog.api.views import AuditRecords

urlpatterns = [path("v1/audit", AuditRecords.as_view(), name="audit-records")]
