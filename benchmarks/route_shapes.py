"""A mix of routes as a large installation has them, and a request that each of them must win. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ROUTES_AN_AREA = 40
HOSTS = 20


@dataclass(frozen=True)
class RouteShape:
    """A route's patterns, and a request for it; `{0}` in `example` takes any value."""

    path: str
    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    example: str

    @property
    def host(self) -> str:
        return self.hosts[0] if self.hosts else "gateway.example"


def route_shapes(count: int) -> Iterator[RouteShape]:
    """Plain prefixes, ones with a {name} at the end or in the middle; one in five on a host of its own."""
    for number in range(count):
        area = f"/area-{number // ROUTES_AN_AREA}"
        path, example, methods = (
            (f"{area}/orders-{number}", f"{area}/orders-{number}/{{0}}", ()),
            (f"{area}/users-{number}/items/{{id}}", f"{area}/users-{number}/items/{{0}}", ()),
            (f"{area}/{{id}}/state-{number}", f"{area}/{{0}}/state-{number}", ()),
            (f"{area}/reports-{number}/daily", f"{area}/reports-{number}/daily/{{0}}", ("GET",)),
        )[number % 4]
        hosts = (f"tenant-{number % HOSTS}.example",) if number % 5 == 4 else ()
        yield RouteShape(path, hosts, methods, example)
