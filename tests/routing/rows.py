"""Configuration rows as the snapshot compiler gets them, with the models' own defaults."""

import copy
from typing import Any

from routing.models import Route, Service
from routing.snapshot import CompileDefaults, CompiledRoute, Rows, Snapshot, compile_snapshot
from routing.snapshot_rows import _ROUTE_COLUMNS, _SERVICE_COLUMNS

ASSET_IDS = {"orders": 7, "reports": 8}
_DEFAULTS = {column: getattr(Route(), column) for column in _ROUTE_COLUMNS}


def service_row(row_id: int = 1, *urls: str, **fields: Any) -> dict[str, Any]:
    """A service with one target for each URL, or with one that nobody connects to."""
    service = Service(pk=row_id, name=f"service-{row_id}", **fields)
    values = {column: getattr(service, column) for column in _SERVICE_COLUMNS}
    targets = [{"url": url, "weight": 1} for url in urls or ("http://192.0.2.1:9000",)]
    return {**values, "targets": targets}


def route_row(name: str, path: str, **fields: Any) -> dict[str, Any]:
    """A public route, unless it names an `asset` or another `access`."""
    asset = fields.pop("asset", None)
    access = fields.pop("access", "granted" if asset else "public")
    by_itself = {each: fields.pop(each, []) for each in ("required_roles", "header_rules")}
    service_id = fields.pop("service_id", 1)
    unknown = set(fields) - set(_DEFAULTS)
    assert not unknown, f"no columns: {unknown}"
    return {
        **{column: copy.copy(value) for column, value in _DEFAULTS.items()},
        **fields,
        "id": int.from_bytes(name.encode()[-6:], "big"),
        "name": name,
        "path": path,
        "access": access,
        "service_id": service_id,
        "asset": asset,
        "asset__name": asset,
        "asset_id": ASSET_IDS[asset] if asset else None,
        **by_itself,
    }


def rows(*routes: dict[str, Any], services: Any = None, **settings: Any) -> Rows:
    return Rows(
        revision=1,
        settings=settings,
        services=[service_row()] if services is None else services,
        routes=list(routes),
    )


def snapshot_of(*routes: dict[str, Any], services: Any = None, **settings: Any) -> Snapshot:
    """The compiled rows, whatever their faults."""
    return compile_snapshot(rows(*routes, services=services, **settings), CompileDefaults())


def compiled(row: dict[str, Any], service: dict[str, Any] | None = None) -> CompiledRoute:
    """One route without a fault."""
    snapshot = snapshot_of(row, services=[service] if service else None)
    assert snapshot.problems == ()
    return snapshot.routes[0]
