"""Write the rows as a configuration file. Holds digests of API keys, never a key or a password."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import yaml

from routing.configuration_file import rows
from routing.configuration_file.current import Current
from routing.configuration_file.version_1 import LEFT_ALONE, ROUTE, SERVICE, VERSION

_HEADER = """\
# Gatehouse configuration. API keys are digests under this installation's pepper: they work where
# GATEWAY_API_KEY_PEPPER is the same. Passwords and the leave to sign in to the admin are not in here.
"""
_NO_HEALTH_CHECK = SERVICE["health_check"].default_value()


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_moment(dumper: yaml.SafeDumper, moment: datetime) -> yaml.Node:
    text = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return dumper.represent_scalar("tag:yaml.org,2002:timestamp", text)


_Dumper.add_representer(datetime, _represent_moment)


def export_file() -> str:
    """Return the whole configuration as YAML: applied to an empty database it makes the same gateway."""
    current = Current()
    document = {
        "version": VERSION,
        "settings": rows.settings_entry(current.settings),
        "roles": [_trimmed("roles", current.role_entry(role)) for role in current.roles.values()],
        "principals": list(_principals(current)),
        "assets": [rows.asset_entry(asset) for asset in current.assets.values()],
        "grants": [
            _with_null_condition(current.grant_entry(grant))
            for grants in current.grants.values()
            for grant in grants
        ],
        "services": [_service(current.service_entry(service)) for service in current.services.values()],
        "routes": [_route(current.route_entry(route)) for route in current.routes.values()],
    }
    body = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return _HEADER + body


_UNSAID = {"enabled": True, "allow_encoded_slashes": False}


def _trimmed(section: str, entry: rows.Entries) -> rows.Entries:
    """Leave out the lesser keys that have their default."""
    lesser = LEFT_ALONE[section]
    return {
        key: value
        for key, value in entry.items()
        if key not in lesser or value not in (_UNSAID.get(key, ""), None, [])
    }


def _principals(current: Current) -> Iterable[rows.Entries]:
    for principal in current.principals.values():
        entry = _trimmed("principals", current.principal_entry(principal))
        keys = [rows.api_key_entry(key) for key in current.api_keys.get(principal.name, {}).values()]
        if keys:
            entry["api_keys"] = [_trimmed("api_keys", key) for key in keys]
        yield entry


def _with_null_condition(entry: rows.Entries) -> rows.Entries:
    return {**entry, "condition": entry["condition"] or None}


def _service(entry: rows.Entries) -> rows.Entries:
    targets = [_trimmed("targets", target) for target in entry["targets"]]
    health_check = None if entry["health_check"] == _NO_HEALTH_CHECK else entry["health_check"]
    return {**_trimmed("services", entry), "targets": targets, "health_check": health_check}


def _route(entry: rows.Entries) -> rows.Entries:
    return _trimmed("routes", {key: entry[key] for key in ROUTE})
