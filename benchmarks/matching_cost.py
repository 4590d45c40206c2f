"""Time match_route over the routes of this installation's database: `python -m benchmarks.matching_cost`.

Runs with the installation's environment, in a process of its own; prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.route_shapes import RouteShape, route_shapes

REQUESTS = 2_000
REPEATS = 25
BUSY_ROUTES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    count = parser.parse_args().count
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
    django.setup()
    from routing.pipeline.matching import match_route
    from routing.snapshot import compile_snapshot
    from routing.snapshot_rows import read_rows

    began = time.perf_counter()
    snapshot = compile_snapshot(read_rows(0))
    compile_seconds = time.perf_counter() - began
    if snapshot.problems or len(snapshot.routes) != count:
        raise SystemExit(f"{len(snapshot.routes)} routes of {count}, problems: {snapshot.problems[:3]}")
    shapes = list(enumerate(route_shapes(count)))
    chooser = random.Random(7)

    def match(*request: Any) -> Any:
        return match_route(snapshot.index, *request)

    answer = {"compile_seconds": compile_seconds}
    for name, pool in (("even", shapes), ("busy", chooser.sample(shapes, min(BUSY_ROUTES, count)))):
        requests = checked_requests(pool, chooser, match)
        passes = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            for host, method, path in requests:
                match_route(snapshot.index, host, method, path)
            passes.append((time.perf_counter() - began) / REQUESTS)
        answer[name] = median(passes)
    print(json.dumps(answer))


def checked_requests(
    pool: list[tuple[int, RouteShape]], chooser: random.Random, match: Callable[..., Any]
) -> list[tuple[str, str, bytes]]:
    """Different requests for routes drawn at random; each must win its own route."""
    requests = []
    for turn in range(REQUESTS):
        number, shape = chooser.choice(pool)
        request = (shape.host, "GET", shape.example.format(turn).encode())
        found = match(*request)
        if found.name != f"route-{number:05d}":
            raise SystemExit(f"{request} went to {found.name} ({found.pattern}), not to route {number}")
        requests.append(request)
    return requests


if __name__ == "__main__":
    main()
