"""Read the rows that a snapshot is compiled from. Synchronous; meant for a thread of its own."""

from typing import Any

from routing.models import GatewaySettings, HeaderRule, Route, Service, Target
from routing.snapshot import Rows

_SERVICE_COLUMNS = (
    "id",
    "name",
    "connect_timeout",
    "response_timeout",
    "idle_timeout",
    "retries",
    "identity",
)
_ROUTE_COLUMNS = (
    "id",
    "name",
    "service_id",
    "asset_id",
    "hosts",
    "path",
    "methods",
    "priority",
    "access",
    "authenticators",
    "strip_prefix",
    "rewrite",
    "websocket",
    "websocket_allowed_origins",
    "websocket_max_message_bytes",
    "websocket_ping_interval",
    "websocket_messages_per_second",
    "websocket_bytes_per_second",
    "websocket_max_age",
    "websocket_idle_timeout",
    "websocket_max_connections",
    "query_api_key",
    "max_body_bytes",
    "security_headers",
    "allow_encoded_slashes",
)


def read_rows(revision: int) -> Rows:
    """Every enabled route and every service, in six queries, as JSON-able values."""
    return Rows(
        revision=revision,
        settings=read_settings(),
        services=_services(),
        routes=_routes(),
    )


def read_settings() -> dict[str, Any]:
    """The row of settings; empty before it has been saved."""
    row = GatewaySettings.objects.filter(pk=1).values("trusted_proxies", "cors_origins").first()
    return dict(row) if row else {}


def _services() -> list[dict[str, Any]]:
    targets = _grouped(Target.objects.filter(enabled=True).order_by("id"), "service_id", "url", "weight")
    rows = Service.objects.order_by("id").values(*_SERVICE_COLUMNS)
    return [{**row, "targets": targets.get(row["id"], [])} for row in rows]


def _routes() -> list[dict[str, Any]]:
    rules = _grouped(HeaderRule.objects.order_by("id"), "route_id", "direction", "operation", "name", "value")
    roles = _grouped(Route.required_roles.through.objects.order_by("id"), "route_id", "role__name")
    rows = Route.objects.filter(enabled=True).order_by("id").values(*_ROUTE_COLUMNS, "asset__name")
    return [
        {
            **row,
            "asset": row["asset__name"],
            "header_rules": rules.get(row["id"], []),
            "required_roles": [each["role__name"] for each in roles.get(row["id"], [])],
        }
        for row in rows
    ]


def _grouped(rows: Any, owner: str, *columns: str) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {}
    for row in rows.values(owner, *columns):
        grouped.setdefault(row.pop(owner), []).append(row)
    return grouped
