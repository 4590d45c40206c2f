"""Django application `routing`."""

from django.apps import AppConfig


class RoutingConfig(AppConfig):
    name = "routing"
    verbose_name = "Routing"

    def ready(self) -> None:
        from accounts.revisions import watch
        from routing.models import GatewaySettings, HeaderRule, RateLimit, Route, Service, Target
        from routing.revision_channel import connect_announcements

        connect_announcements()
        watch(GatewaySettings, HeaderRule, RateLimit, Route, Service, Target)
