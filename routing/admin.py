"""Admin of services, routes, the gateway's settings, and (to look at) its workers."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from accounts.configuration_admin import ConfigurationAdmin
from accounts.revisions import Revision
from routing.models import GatewaySettings, HeaderRule, RateLimit, Route, Service, Target, Worker
from routing.validators import AUTHENTICATORS

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# A worker reports every five seconds.
STALE_AFTER = timedelta(seconds=20)


class TargetInline(TabularInline):
    model = Target
    fields = ["url", "weight", "enabled"]
    ordering = ["-weight", "url"]
    extra = 0
    hide_title = True


class RateLimitInline(TabularInline):
    model = RateLimit
    fields = ["limit", "window", "per", "algorithm"]
    extra = 0
    hide_title = True


class HeaderRuleInline(TabularInline):
    model = HeaderRule
    fields = ["direction", "operation", "name", "value"]
    extra = 0
    hide_title = True


@admin.register(Service)
class ServiceAdmin(ConfigurationAdmin):
    list_display = ["name", "target_urls", "route_count", "load_balancing", "identity", "description"]
    list_filter = ["load_balancing", "identity"]
    search_fields = ["name", "description", "targets__url"]
    ordering = ["name"]
    inlines = [TargetInline]
    fieldsets = [
        (None, {"fields": ["name", "description"]}),
        (
            "How it is called",
            {
                "fields": [
                    "load_balancing",
                    "identity",
                    ("connect_timeout", "idle_timeout"),
                    ("response_timeout", "retries"),
                ]
            },
        ),
        (
            "Health",
            {
                "fields": [
                    "health_path",
                    ("health_interval", "health_timeout"),
                    ("unhealthy_after", "healthy_after"),
                    ("breaker_failures", "breaker_open_seconds"),
                ],
                "description": "Stored, but without effect in this version.",
            },
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Service]:
        return (
            super()
            .get_queryset(request)
            .prefetch_related("targets")
            .annotate(route_total=Count("routes", distinct=True))
        )

    @display(description="targets")
    def target_urls(self, service: Service) -> str:
        return ", ".join(
            target.url + ("" if target.enabled else " (off)") for target in service.targets.all()
        )

    @display(description="routes", ordering="route_total")
    def route_count(self, service: Service) -> int:
        return service.route_total


@admin.register(Route)
class RouteAdmin(ConfigurationAdmin):
    list_display = ["name", "path", "method_text", "service_name", "access_label", "asset_name", "enabled"]
    list_filter = ["access", "enabled", "websocket", "service"]
    list_select_related = ["service", "asset"]
    search_fields = ["name", "path", "description", "service__name", "asset__name"]
    autocomplete_fields = ["service", "asset", "required_roles"]
    text_lists = ("hosts", "websocket_allowed_origins")
    choice_lists = {"methods": METHODS, "authenticators": AUTHENTICATORS}
    save_as = True
    inlines = [RateLimitInline, HeaderRuleInline]
    actions = ["enable", "disable"]
    fieldsets = [
        (None, {"fields": [("name", "enabled"), "description"]}),
        ("What it matches", {"fields": ["path", "methods", "hosts", "priority"]}),
        ("Where it goes", {"fields": ["service", ("strip_prefix", "rewrite")]}),
        ("Who may", {"fields": ["access", "asset", "required_roles", "authenticators", "query_api_key"]}),
        (
            "Limits and headers",
            {
                "fields": [
                    "max_body_bytes",
                    ("security_headers", "allow_encoded_slashes"),
                    "compute",
                ],
                "description": "Rate limits and compute are stored, but without effect in this version.",
            },
        ),
        (
            "WebSockets",
            {
                "fields": [
                    "websocket",
                    "websocket_allowed_origins",
                    ("websocket_max_message_bytes", "websocket_ping_interval"),
                    ("websocket_messages_per_second", "websocket_bytes_per_second"),
                    ("websocket_max_age", "websocket_idle_timeout"),
                    "websocket_max_connections",
                ]
            },
        ),
    ]

    @display(description="methods")
    def method_text(self, route: Route) -> str:
        return ", ".join(route.methods) or "any"

    @display(description="service", ordering="service__name")
    def service_name(self, route: Route) -> str:
        return route.service.name

    @display(description="asset", ordering="asset__name")
    def asset_name(self, route: Route) -> str:
        return route.asset.name if route.asset else ""

    @display(
        description="access",
        ordering="access",
        label={"public": "warning", "authenticated": "info", "granted": "success"},
    )
    def access_label(self, route: Route) -> str:
        return route.access

    @admin.action(description="Enable selected routes", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Route]) -> None:
        self._switch(request, queryset, True)

    @admin.action(description="Disable selected routes", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Route]) -> None:
        self._switch(request, queryset, False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Route], enabled: bool) -> None:
        routes = list(queryset.exclude(enabled=enabled))
        for route in routes:
            route.enabled = enabled
            route.save(update_fields=["enabled", "updated_at"])
            self.log_change(request, route, "Enabled" if enabled else "Disabled")
        self.message_user(request, f"{len(routes)} {'enabled' if enabled else 'disabled'}.")


@admin.register(GatewaySettings)
class GatewaySettingsAdmin(ConfigurationAdmin):
    """One row: the list leads straight to it."""

    text_lists = ("trusted_proxies", "cors_origins")
    fieldsets = [(None, {"fields": ["trusted_proxies", "cors_origins"]})]

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:routing_gatewaysettings_change", args=[1]))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        stored = super().get_object(request, object_id, from_field)
        return stored or (GatewaySettings(pk=1) if str(object_id) == "1" else None)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Worker)
class WorkerAdmin(ModelAdmin):
    """What the data plane's processes say of themselves."""

    list_display = [
        "node", "pid", "role", "state", "revision", "newest_revision", "dropped", "seen_at", "problem",
    ]  # fmt: skip
    list_display_links = None
    list_filter = ["role"]
    search_fields = ["node"]
    ordering = ["node", "pid"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        newest = Revision.objects.filter(pk=1).values("number")
        return super().get_queryset(request).annotate(newest=Subquery(newest))

    @display(description="state", label={"current": "success", "behind": "warning", "stale": "danger"})
    def state(self, worker: Worker) -> str:
        return worker_state(worker, worker.newest)

    @display(
        description="audit records dropped",
        ordering="audit_dropped",
        label={"none": "success", "some": "danger"},
    )
    def dropped(self, worker: Worker) -> tuple[str, str]:
        return "some" if worker.audit_dropped else "none", str(worker.audit_dropped)

    @display(description="newest revision")
    def newest_revision(self, worker: Worker) -> int:
        return worker.newest

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def worker_state(worker: Worker, newest: int) -> str:
    """stale when it has fallen silent, behind when it serves an older revision, else current."""
    if worker.seen_at < timezone.now() - STALE_AFTER:
        return "stale"
    return "behind" if worker.revision < newest else "current"
