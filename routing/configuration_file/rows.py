"""Translate between the file's entries and the columns of the rows, in both directions.

Each pair stands together: what `*_entry` writes, `*_columns` reads back.
"""

from typing import Any

from accounts.models import ApiKey, Asset, Grant, Principal, Role
from routing.configuration_file.version_1 import API_KEY
from routing.models import GatewaySettings, HeaderRule, RateLimit, Route, Service, Target

Entries = dict[str, Any]
DIGEST_PREFIX = "hmac-sha256:"

# Where a model's error about a column belongs in the file, when the key has another name.
KEY_OF_COLUMN = {
    Role: {"rate_limit": "rate_limit.limit", "rate_window": "rate_limit.window"},
    Principal: {"is_active": "enabled"},
    Service: {
        "connect_timeout": "timeouts.connect",
        "response_timeout": "timeouts.response",
        "idle_timeout": "timeouts.idle",
        "health_path": "health_check.path",
        "health_interval": "health_check.interval",
        "health_timeout": "health_check.timeout",
        "unhealthy_after": "health_check.unhealthy_after",
        "healthy_after": "health_check.healthy_after",
        "breaker_failures": "circuit_breaker.failures",
        "breaker_open_seconds": "circuit_breaker.open_seconds",
    },
    Route: {
        f"websocket_{key}": f"websocket_options.{key}"
        for key in (
            "allowed_origins",
            "max_message_bytes",
            "ping_interval",
            "messages_per_second",
            "bytes_per_second",
            "max_age",
            "idle_timeout",
            "max_connections",
        )
    },
}


def settings_entry(row: GatewaySettings) -> Entries:
    return {"trusted_proxies": row.trusted_proxies, "cors_origins": row.cors_origins}


def settings_columns(entry: Entries) -> Entries:
    return dict(entry)


def role_entry(row: Role) -> Entries:
    limit = None if row.rate_limit is None else {"limit": row.rate_limit, "window": row.rate_window}
    return {
        "name": row.name,
        "description": row.description,
        "permissions": row.permissions,
        "rate_limit": limit,
    }


def role_columns(entry: Entries) -> Entries:
    rate = entry["rate_limit"] or {"limit": None, "window": 60}
    return {
        "name": entry["name"],
        "description": entry["description"],
        "permissions": entry["permissions"],
        "rate_limit": rate["limit"],
        "rate_window": rate["window"],
    }


def principal_entry(row: Principal, roles: list[str], members: list[str]) -> Entries:
    return {
        "name": row.name,
        "kind": row.kind,
        "display_name": row.display_name,
        "email": row.email,
        "enabled": row.is_active,
        "roles": sorted(roles),
        "members": sorted(members),
        "attributes": row.attributes,
    }


def principal_columns(entry: Entries) -> Entries:
    columns = {key: entry[key] for key in ("name", "kind", "display_name", "email", "attributes")}
    return {**columns, "is_active": entry["enabled"]}


def api_key_entry(row: ApiKey) -> Entries:
    return {
        "name": row.name,
        "digest": DIGEST_PREFIX + bytes(row.digest).hex(),
        "public_id": row.public_id,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "allowed_cidrs": row.allowed_cidrs,
        "scopes": row.scopes,
    }


def api_key_columns(entry: Entries) -> Entries:
    """`digest` is bytes by now: see credentials.py."""
    return {key: entry[key] for key in API_KEY if key != "secret"}


def asset_entry(row: Asset) -> Entries:
    return {"name": row.name, "description": row.description, "sensitivity": row.sensitivity}


def asset_columns(entry: Entries) -> Entries:
    return dict(entry)


def grant_entry(row: Grant, principal: str, asset: str) -> Entries:
    return {
        "principal": principal,
        "asset": asset,
        "actions": row.actions,
        "expires_at": row.expires_at,
        "condition": row.condition,
        "justification": row.justification,
    }


def grant_columns(entry: Entries) -> Entries:
    return {key: entry[key] for key in ("actions", "expires_at", "condition", "justification")}


def service_entry(row: Service, targets: list[Target]) -> Entries:
    return {
        "name": row.name,
        "description": row.description,
        "targets": sorted((target_entry(target) for target in targets), key=lambda target: target["url"]),
        "load_balancing": row.load_balancing,
        "timeouts": {
            "connect": row.connect_timeout,
            "response": row.response_timeout,
            "idle": row.idle_timeout,
        },
        "retries": row.retries,
        "health_check": {
            "path": row.health_path,
            "interval": row.health_interval,
            "timeout": row.health_timeout,
            "unhealthy_after": row.unhealthy_after,
            "healthy_after": row.healthy_after,
        },
        "circuit_breaker": {"failures": row.breaker_failures, "open_seconds": row.breaker_open_seconds},
        "identity": row.identity,
    }


def service_columns(entry: Entries) -> Entries:
    columns = {key: entry[key] for key in ("name", "description", "load_balancing", "retries", "identity")}
    for column, key_path in KEY_OF_COLUMN[Service].items():
        mapping, key = key_path.split(".")
        columns[column] = entry[mapping][key]
    return columns


def target_entry(row: Target) -> Entries:
    return {"url": row.url, "weight": row.weight, "enabled": row.enabled}


# Keys of a route that are columns of the same name; the rest are rows of their own or references.
_ROUTE_COLUMNS = (
    "name",
    "description",
    "enabled",
    "hosts",
    "path",
    "methods",
    "priority",
    "access",
    "authenticators",
    "strip_prefix",
    "rewrite",
    "websocket",
    "query_api_key",
    "max_body_bytes",
    "security_headers",
    "allow_encoded_slashes",
    "compute",
)


def route_entry(
    row: Route,
    service: str,
    asset: str | None,
    required_roles: list[str],
    rate_limits: list[RateLimit],
    header_rules: list[HeaderRule],
) -> Entries:
    return {
        **{key: getattr(row, key) for key in _ROUTE_COLUMNS},
        "websocket_options": {
            key.partition(".")[2]: getattr(row, column) for column, key in KEY_OF_COLUMN[Route].items()
        },
        "service": service,
        "asset": asset,
        "required_roles": sorted(required_roles),
        "rate_limits": sorted(map(rate_limit_entry, rate_limits), key=rate_limit_order),
        "headers": {
            direction: header_entry([rule for rule in header_rules if rule.direction == direction])
            for direction in ("request", "response")
        },
    }


def route_columns(entry: Entries) -> Entries:
    columns = {key: entry[key] for key in _ROUTE_COLUMNS}
    for column, key in KEY_OF_COLUMN[Route].items():
        columns[column] = entry["websocket_options"][key.partition(".")[2]]
    return columns


def rate_limit_entry(row: RateLimit) -> Entries:
    return {"limit": row.limit, "window": row.window, "per": row.per, "algorithm": row.algorithm}


def rate_limit_order(entry: Entries) -> tuple[str, int]:
    return entry["per"], entry["window"]


def header_entry(rules: list[HeaderRule]) -> Entries:
    return {
        "set": {rule.name: rule.value for rule in rules if rule.operation == "set"},
        "remove": sorted(rule.name for rule in rules if rule.operation == "remove"),
    }


def header_columns(headers: Entries) -> list[Entries]:
    """One mapping of HeaderRule columns for each header that `headers` sets or removes."""
    columns = []
    for direction, rules in headers.items():
        for name, value in rules["set"].items():
            columns.append({"direction": direction, "operation": "set", "name": name, "value": value})
        for name in rules["remove"]:
            columns.append({"direction": direction, "operation": "remove", "name": name, "value": ""})
    return columns
