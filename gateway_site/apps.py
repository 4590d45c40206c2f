"""Django application `gateway_site`: the project's own checks and commands, and the wiring of the rooms."""

from django.apps import AppConfig
from django.conf import settings


class GatewaySiteConfig(AppConfig):
    name = "gateway_site"
    verbose_name = "Gatehouse"

    def ready(self) -> None:
        import gateway_site.checks  # noqa: F401 - registers the system checks
        from gateway_site import audit_events, list_events, password_events
        from gateway_site.logins import events as login_events

        audit_events.connect()
        list_events.connect()
        password_events.connect()
        login_events.connect()
        if settings.GATEWAY_CELERY_BROKER_URL:
            # Makes it the current application, which shared tasks belong to.
            from gateway_site import celery  # noqa: F401
