"""Write rows into an installation's database, in a process of its own: `python -m benchmarks.rows`.

The harness never loads the product's settings itself; it starts this with the installation's environment.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator

from benchmarks.route_shapes import route_shapes

ASSETS = 100
BATCH = 5_000


def secret_of(prefix: str, number: int) -> str:
    """The key that `fill` and `keys` import under this number."""
    return f"{prefix}-{number:07d}"


def fill(count: int, prefix: str) -> None:
    """`count` service accounts with a key and a grant each, past the per-row validation."""
    from accounts.keys import digest_of
    from accounts.models import ApiKey, Asset, Grant, Principal

    names = (f"account-{number:07d}" for number in range(count))
    accounts = _create(
        Principal,
        (Principal(name=name, kind=Principal.Kind.SERVICE_ACCOUNT, password="!unusable") for name in names),
    )
    _create(Asset, (Asset(name=f"asset-{number:03d}") for number in range(ASSETS - 1)))
    assets = list(Asset.objects.all())
    orders = Asset.objects.get(name="orders")
    digests = (digest_of(secret_of(prefix, number)) for number in range(count))
    _create(
        ApiKey,
        (
            ApiKey(principal=account, name="bulk", public_id=f"bulk{number:07d}", digest=digest)
            for number, (account, digest) in enumerate(zip(accounts, digests, strict=True))
        ),
    )
    # The last account reaches the measured route, the others are spread over all assets.
    _create(
        Grant,
        (
            Grant(
                principal=account,
                asset=orders if number == count - 1 else assets[number % len(assets)],
                actions=["read"],
            )
            for number, account in enumerate(accounts)
        ),
    )


def keys(count: int, prefix: str) -> None:
    """`count` more keys for the principal `bench`, through the product's own import."""
    from accounts.keys import import_key
    from accounts.models import Principal

    bench = Principal.objects.get(name="bench")
    for number in range(count):
        import_key(bench, f"trial-{number:07d}", secret_of(prefix, number))


def routes(count: int) -> None:
    """`count` routes of mixed shapes to the service `orders`, past the per-row validation."""
    from accounts.models import Asset
    from routing.models import Route, Service

    service, asset = Service.objects.get(name="orders"), Asset.objects.get(name="orders")
    Route.objects.all().delete()
    _create(
        Route,
        (
            Route(
                name=f"route-{number:05d}",
                service=service,
                asset=asset,
                path=shape.path,
                hosts=list(shape.hosts),
                methods=list(shape.methods),
            )
            for number, shape in enumerate(route_shapes(count))
        ),
    )


def revoke_on_request() -> None:
    """Revoke the key named on each line of input; answer with the monotonic nanosecond of its commit."""
    from django.db import transaction

    from accounts.keys import revoke_key
    from accounts.models import ApiKey

    print("ready", flush=True)
    for line in sys.stdin:
        key = ApiKey.objects.get(principal__name="bench", name=line.strip())
        committed: list[int] = []
        with transaction.atomic():
            # Registered first, so it runs before the change is announced to the workers.
            transaction.on_commit(lambda: committed.append(time.monotonic_ns()))  # noqa: B023
            revoke_key(key)
        print(committed[0], flush=True)


def _create(model: type, rows: Iterable[object]) -> list[object]:
    created: list[object] = []
    for batch in _batches(rows):
        created += model.objects.bulk_create(batch)  # type: ignore[attr-defined]
    return created


def _batches(rows: Iterable[object]) -> Iterator[list[object]]:
    batch: list[object] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["fill", "keys", "routes", "revoke"])
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--prefix", default="")
    chosen = parser.parse_args()
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
    django.setup()
    if chosen.work == "fill":
        fill(chosen.count, chosen.prefix)
    elif chosen.work == "keys":
        keys(chosen.count, chosen.prefix)
    elif chosen.work == "routes":
        routes(chosen.count)
    else:
        revoke_on_request()


if __name__ == "__main__":
    main()
