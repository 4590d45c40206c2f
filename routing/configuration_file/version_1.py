"""Every key of version 1 of the file, with its shape and default. Says nothing of rows.

A key that is left out has its default, on an object that exists as on a new one: the file says the
whole of each object it names. The exceptions are in LEFT_ALONE.
"""

from typing import Any

from routing.configuration_file.problems import Problem
from routing.configuration_file.shapes import (
    Entry,
    HeaderValues,
    Json,
    Key,
    Keyed,
    ListOf,
    Reading,
    Texts,
    flag,
    integer,
    moment,
    number,
    text,
)
from routing.configuration_file.yaml_values import Value

VERSION = 1
SECTIONS = ("roles", "principals", "assets", "grants", "services", "routes")


def _nested(keys: dict[str, Key], null: bool = False) -> Key:
    """A mapping that may be left out (or be null): then all of it has its defaults."""

    def defaults() -> dict[str, Any]:
        return {name: key.default_value() for name, key in keys.items()}

    return Key(Keyed(keys), defaults) if not null else Key(_DefaultsWhenNull(keys), defaults)


class _DefaultsWhenNull(Keyed):
    def read(self, value: Value, path: str, reading: Reading) -> Any:
        if value.kind == "nothing":
            return {name: key.default_value() for name, key in self.keys.items()}
        return super().read(value, path, reading)


def _one_credential(entry: Entry) -> tuple[str, str] | None:
    if (entry["secret"] is None) == (entry["digest"] is None):
        return "name", "give either `secret` or `digest`"
    return None


def _header_named_once(entry: Entry) -> tuple[str, str] | None:
    seen: set[str] = set()
    for key, names in (("set", list(entry["set"])), ("remove", entry["remove"])):
        for name in names:
            if name.lower() in seen:
                return key, f"{name} is named twice (case makes no difference)"
            seen.add(name.lower())
    return None


def _asset_of_granted(entry: Entry) -> tuple[str, str] | None:
    if entry["access"] == "granted" and entry["asset"] is None:
        return "asset", "a route with access granted needs an asset"
    return None


RATE = {"limit": Key(integer()), "window": Key(integer(), 60)}
API_KEY = {
    "name": Key(text()),
    "secret": Key(text(None), None),
    "digest": Key(text(None), None),
    "public_id": Key(text(None), None),
    "expires_at": Key(moment(), None),
    "revoked_at": Key(moment(), None),
    "allowed_cidrs": Key(Texts(), list),
    "scopes": Key(Texts(), list),
}
TARGET = {"url": Key(text()), "weight": Key(integer(), 1), "enabled": Key(flag(), True)}
HEADERS = {"set": Key(HeaderValues(), dict), "remove": Key(Texts(ordered=False), list)}
ROUTE_RATE = {
    **RATE,
    "per": Key(text(), "principal"),
    "algorithm": Key(text(), "sliding_window"),
}


def _headers_key() -> Key:
    shape = Keyed(HEADERS, rule=_header_named_once)
    return Key(shape, lambda: {"set": {}, "remove": []})


def _headers_both() -> Key:
    return _nested({"request": _headers_key(), "response": _headers_key()})


SETTINGS = {"trusted_proxies": Key(Texts(), list), "cors_origins": Key(Texts(), list)}
ROLE = {
    "name": Key(text()),
    "description": Key(text(""), ""),
    "permissions": Key(Texts(), list),
    "rate_limit": Key(Keyed(RATE, null=None), None),
}
PRINCIPAL = {
    "name": Key(text()),
    "kind": Key(text(), "user"),
    "display_name": Key(text(""), ""),
    "email": Key(text(""), ""),
    "enabled": Key(flag(), True),
    "roles": Key(Texts(ordered=False), list),
    "members": Key(Texts(ordered=False), list),
    "attributes": Key(Json(), dict),
    "api_keys": Key(ListOf(Keyed(API_KEY, rule=_one_credential), ("name",), "API key"), list),
}
ASSET = {
    "name": Key(text()),
    "description": Key(text(""), ""),
    "sensitivity": Key(text(), "medium"),
}
GRANT = {
    "principal": Key(text()),
    "asset": Key(text()),
    "actions": Key(Texts()),
    "expires_at": Key(moment(), None),
    "condition": Key(text(""), ""),
    "justification": Key(text(""), ""),
}
SERVICE = {
    "name": Key(text()),
    "description": Key(text(""), ""),
    "targets": Key(ListOf(Keyed(TARGET), ("url",), "target"), list),
    "load_balancing": Key(text(), "round_robin"),
    "timeouts": _nested(
        {"connect": Key(number(), 2.0), "response": Key(number(None), None), "idle": Key(number(), 60.0)}
    ),
    "retries": Key(integer(), 1),
    "health_check": _nested(
        {
            "path": Key(text(""), ""),
            "interval": Key(number(), 5.0),
            "timeout": Key(number(), 2.0),
            "unhealthy_after": Key(integer(), 5),
            "healthy_after": Key(integer(), 2),
        },
        null=True,
    ),
    "circuit_breaker": _nested({"failures": Key(integer(), 5), "open_seconds": Key(number(), 30.0)}),
    "identity": Key(text(), "headers"),
}
WEBSOCKET_OPTIONS = {
    "allowed_origins": Key(Texts(ordered=False), list),
    "max_message_bytes": Key(integer(), 1_048_576),
    "ping_interval": Key(number(), 20.0),
    "messages_per_second": Key(integer(None), None),
    "bytes_per_second": Key(integer(None), None),
    "max_age": Key(number(None), None),
    "idle_timeout": Key(number(None), None),
    "max_connections": Key(integer(None), None),
}
ROUTE = {
    "name": Key(text()),
    "description": Key(text(""), ""),
    "enabled": Key(flag(), True),
    "service": Key(text()),
    "asset": Key(text(None), None),
    "hosts": Key(Texts(), list),
    "path": Key(text()),
    "methods": Key(Texts(), list),
    "priority": Key(integer(), 0),
    "access": Key(text(), "granted"),
    "required_roles": Key(Texts(ordered=False), list),
    "authenticators": Key(Texts(), lambda: ["api_key", "jwt"]),
    "strip_prefix": Key(flag(), False),
    "rewrite": Key(text(None), None),
    "websocket": Key(flag(), False),
    "websocket_options": _nested(WEBSOCKET_OPTIONS),
    "query_api_key": Key(flag(), False),
    "max_body_bytes": Key(integer(None), None),
    "rate_limits": Key(ListOf(Keyed(ROUTE_RATE), ("per", "window"), "rate limit"), list),
    "headers": _headers_both(),
    "security_headers": Key(flag(), True),
    "allow_encoded_slashes": Key(flag(), False),
    "compute": Key(flag(), False),
}
# Keys that leave an existing row's value alone when they are not given, so that applying a file again
# neither enables what an administrator disabled nor revives a revoked key.
LEFT_ALONE = {
    "roles": {"description"},
    "principals": {"display_name", "email", "enabled", "members", "api_keys"},
    "api_keys": {"public_id", "revoked_at"},
    "assets": set[str](),
    "grants": set[str](),
    "services": {"description"},
    "targets": {"enabled"},
    "routes": {"description", "enabled", "allow_encoded_slashes"},
}

FILE = Keyed(
    {
        "version": Key(integer()),
        "settings": Key(Keyed(SETTINGS), None),
        "roles": Key(ListOf(Keyed(ROLE), ("name",), "role"), list),
        "principals": Key(ListOf(Keyed(PRINCIPAL), ("name",), "principal"), list),
        "assets": Key(ListOf(Keyed(ASSET), ("name",), "asset"), list),
        "grants": Key(ListOf(Keyed(GRANT), ("principal", "asset", "condition"), "grant"), list),
        "services": Key(ListOf(Keyed(SERVICE), ("name",), "service"), list),
        "routes": Key(ListOf(Keyed(ROUTE, rule=_asset_of_granted), ("name",), "route"), list),
    }
)


def read_document(value: Value) -> tuple[Entry | None, list[Problem]]:
    """Return the file's entries with defaults filled in, and everything wrong with their shape."""
    reading = Reading()
    document = FILE.read(value, "", reading)
    if not isinstance(document, Entry):
        return None, reading.problems
    if document["version"] not in (None, VERSION):
        reading.problems.append(
            document.problem("version", f"this Gatehouse reads version {VERSION} of the file")
        )
    return document, reading.problems
