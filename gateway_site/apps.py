"""Django application `gateway_site`: the project's own checks and commands."""

from django.apps import AppConfig


class GatewaySiteConfig(AppConfig):
    name = "gateway_site"
    verbose_name = "Gatehouse"

    def ready(self) -> None:
        import gateway_site.checks  # noqa: F401 - registers the system checks
