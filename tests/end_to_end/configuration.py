"""What the shared gateway of the end-to-end tests is configured with."""

from typing import Any

ALICE_KEY = "alice-imported-key-0123456789"
BOB_KEY = "bob-imported-key-0123456789"


def service(name: str, *urls: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "targets": [{"url": url} for url in urls], **fields}


def route(name: str, path: str, to: str = "stub", access: str = "public", **fields: Any) -> dict[str, Any]:
    return {"name": name, "service": to, "path": path, "access": access, **fields}


def configuration(
    services: list[dict[str, Any]], routes: list[dict[str, Any]], **sections: Any
) -> dict[str, Any]:
    """A whole file: alice holds read and write on the asset `orders`, bob holds nothing."""
    file = {
        "version": 1,
        "principals": [
            {"name": "alice", "roles": ["engineer"], "api_keys": [{"name": "laptop", "secret": ALICE_KEY}]},
            {"name": "bob", "api_keys": [{"name": "phone", "secret": BOB_KEY}]},
        ],
        "assets": [{"name": "orders"}],
        "grants": [{"principal": "alice", "asset": "orders", "actions": ["read", "write"]}],
        "services": services,
        "routes": routes,
    }
    return file | sections


def shared_configuration(upstream_url: str) -> dict[str, Any]:
    """Routes for most tests; a test tells its requests apart by a path of its own below a prefix."""
    return configuration(
        services=[
            service("stub", upstream_url),
            service("hasty", upstream_url, timeouts={"connect": 0.5, "response": 0.5, "idle": 0.5}),
            service("patient", upstream_url, timeouts={"connect": 2, "response": 10, "idle": 2}, retries=0),
            service("nowhere", "http://127.0.0.1:1"),
        ],
        routes=[
            route("open", "/open"),
            route("private", "/private", access="authenticated"),
            route("orders", "/orders", access="granted", asset="orders"),
            route("engineers", "/engineers", access="authenticated", required_roles=["engineer"]),
            route("operators", "/operators", access="authenticated", required_roles=["operator"]),
            route("read-only", "/read-only", methods=["GET", "HEAD"]),
            route("item", "/items/{id}/parts"),
            route("query-key", "/query-key", access="authenticated", query_api_key=True),
            route("small", "/small", max_body_bytes=100),
            route("large", "/large", max_body_bytes=200_000_000),
            route("hasty", "/hasty", to="hasty"),
            route("patient", "/patient", to="patient"),
            route("nowhere", "/nowhere", to="nowhere"),
            route("stripped", "/stripped", strip_prefix=True),
            route("bare", "/bare", security_headers=False),
            route("one-host", "/hosted", hosts=["one.test"]),
        ],
    )


def websocket_configuration(upstream_url: str) -> dict[str, Any]:
    """Routes of the WebSocket tests, all to one upstream; what it does is the last part of the path."""
    services = [
        service("sockets", upstream_url, timeouts={"connect": 1, "response": 1, "idle": 5}),
        service("nobody", "http://127.0.0.1:1"),
    ]
    options: dict[str, dict[str, Any]] = {
        "open": {},
        "small": {"max_message_bytes": 1000},
        "large": {"max_message_bytes": 16_777_216},
        "rate": {"messages_per_second": 20},
        "bytes": {"bytes_per_second": 10_000},
        "young": {"max_age": 1},
        "busy": {"idle_timeout": 1},
        "few": {"max_connections": 2},
        "pinged": {"ping_interval": 1},
        "listed": {"allowed_origins": ["https://app.example.com"]},
        "any": {"allowed_origins": ["*"]},
    }
    routes = [
        route(name, f"/{name}", to="sockets", websocket=True, websocket_options=chosen)
        for name, chosen in options.items()
    ]
    routes += [
        route("private", "/private", "sockets", "authenticated", websocket=True),
        route("query", "/query", "sockets", "authenticated", websocket=True, query_api_key=True),
        route("orders", "/orders", "sockets", "granted", asset="orders", websocket=True),
        route("no-sockets", "/no-sockets", to="sockets"),
        route("nowhere", "/nowhere", to="nobody", websocket=True),
    ]
    return configuration(services, routes)
