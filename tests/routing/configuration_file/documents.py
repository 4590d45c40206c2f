"""Configuration documents for the tests, and how to apply one."""

from typing import Any

import pytest
import yaml

from accounts.models import Principal
from accounts.revisions import current_revision
from routing.configuration_file.applying import apply_file
from routing.configuration_file.problems import InvalidConfiguration
from routing.models import Route

EVERYTHING = """\
version: 1
settings: {trusted_proxies: [10.0.0.0/8, "2001:db8::/32"], cors_origins: ["https://app.example.com"]}
roles:
  - {name: engineer, permissions: ["models:*", "diagnostics:read"], rate_limit: {limit: 200, window: 30}}
  - {name: reader, description: Reads, permissions: ["catalog:read"]}
principals:
  - name: alice
    kind: user
    display_name: Alice A.
    email: alice@example.com
    roles: [engineer, reader]
    attributes: {department: lab, level: 3, tags: [a, {b: null}]}
    api_keys:
      - name: laptop
        secret: "imported-key-of-any-form"
        expires_at: 2027-01-01T00:00:00Z
        allowed_cidrs: [192.0.2.0/24]
        scopes: ["orders:read"]
      - {name: gone, secret: "another-imported-key", revoked_at: 2026-01-01T00:00:00Z}
  - {name: robot, kind: service_account, enabled: false}
  - {name: lab, kind: group, roles: [reader], members: [alice, deputies]}
  - {name: deputies, kind: group, members: [robot]}
assets:
  - {name: orders, description: Order data, sensitivity: high}
  - {name: secrets, sensitivity: critical}
grants:
  - {principal: alice, asset: orders, actions: [read, write], expires_at: null,
     condition: "request.ip.startsWith('10.')", justification: on-call}
  - {principal: lab, asset: orders, actions: [read]}
  - {principal: lab, asset: secrets, actions: ["*"], expires_at: 2027-06-01T00:00:00Z}
services:
  - name: orders
    description: The order service
    targets: [{url: "http://127.0.0.1:9001", weight: 3}, {url: "https://b.example.com", enabled: false}]
    load_balancing: least_connections
    timeouts: {connect: 1.5, response: 10, idle: 30}
    retries: 2
    health_check: {path: /health, interval: 3, timeout: 1, unhealthy_after: 4, healthy_after: 3}
    circuit_breaker: {failures: 7, open_seconds: 12.5}
    identity: jwt
  - {name: bare}
routes:
  - name: orders
    description: Orders
    service: orders
    asset: orders
    hosts: [api.example.com, "*.internal"]
    path: /api/orders
    methods: [GET, POST]
    priority: 5
    access: granted
    required_roles: [reader, engineer]
    authenticators: [api_key]
    rewrite: "/v2{rest}"
    websocket: true
    query_api_key: true
    max_body_bytes: 4096
    rate_limits:
      - {limit: 100, window: 60, per: principal, algorithm: token_bucket}
      - {limit: 5, window: 1, per: ip}
    headers:
      request: {set: {X-Stage: "a b"}, remove: [X-Debug]}
      response: {set: {X-Served-By: gatehouse}, remove: [Server]}
    security_headers: false
    allow_encoded_slashes: true
    compute: true
  - {name: open, service: bare, path: "/open/{id}", access: public, strip_prefix: true, enabled: false}
"""


def minimal(**sections: Any) -> dict[str, Any]:
    """A valid document with one service and one public route, and `sections` besides or instead."""
    return {
        "version": 1,
        "services": [{"name": "orders", "targets": [{"url": "http://127.0.0.1:9001"}]}],
        "routes": [{"name": "orders", "service": "orders", "path": "/orders", "access": "public"}],
        **sections,
    }


def apply(document: dict[str, Any] | str, **options: Any) -> Any:
    text = document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False)
    return apply_file(text.encode(), **options)


def problems_of(document: dict[str, Any] | str, **options: Any) -> list[str]:
    before = (current_revision(), Route.objects.count(), Principal.objects.count())
    with pytest.raises(InvalidConfiguration) as raised:
        apply(document, **options)
    assert (current_revision(), Route.objects.count(), Principal.objects.count()) == before
    return [problem.located("f") for problem in raised.value.problems]
