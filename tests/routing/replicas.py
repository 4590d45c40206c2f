"""A replica of the default database within the test, and everything that its world says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from django.db import connection

from accounts.directory import Directory
from accounts.identity import CredentialNotLoaded, Identity
from routing import configuration_source
from routing.key_usage import KeyUsage
from routing.last_good import LastGood
from routing.pipeline.hygiene import HygieneLimits
from routing.record import Recorder
from routing.replica import Replica
from routing.runtime import Runtime
from routing.snapshot import CompileDefaults, Snapshot
from routing.upstream.forward import Forwarder
from routing.upstream.pool import Pools
from routing.worker_report import WorkerReport


class Silent(WorkerReport):
    """A report that leaves the tables of the test alone."""

    def write(self, revision: int, problem: str) -> None:
        pass

    def withdraw(self) -> None:
        pass


def new_runtime(limit: int, executor: ThreadPoolExecutor, find: Any = None) -> Runtime:
    from django.conf import settings

    return Runtime(
        directory=Directory(settings.GATEWAY_API_KEY_PEPPER.encode(), limit),
        forwarder=Forwarder(Pools(1, allow_loopback=True)),
        recorder=Recorder(None, lambda event, fields: None),
        limits=HygieneLimits(),
        find_credential=find or configuration_source.find_credential,
        executor=executor,
    )


@asynccontextmanager
async def replica_of_the_database(
    directory: Path, limit: int = 1000, report: type[WorkerReport] = Silent
) -> AsyncIterator[tuple[Replica, Runtime]]:
    """A replica that follows when `catch_up` is called (or after `start`), with threads of its own."""
    with ThreadPoolExecutor(1) as thread, ThreadPoolExecutor(2) as lookups:
        runtime = new_runtime(limit, lookups)
        replica = Replica(runtime, CompileDefaults(), LastGood(directory), report("all", KeyUsage()), thread)
        try:
            yield replica, runtime
        finally:
            loop = asyncio.get_running_loop()
            for executor in (thread, lookups, lookups):
                await loop.run_in_executor(executor, lambda: connection.close())


async def world_of(runtime: Runtime, digests: Iterable[bytes]) -> dict[str, Any]:
    """What requests are decided by, as comparable values: each key's identity, and the snapshot."""
    identities = {digest: shown_identity(await identity_behind(runtime, digest)) for digest in digests}
    assert runtime.snapshot is not None
    return {"identities": identities, **shown_snapshot(runtime.snapshot)}


async def identity_behind(runtime: Runtime, digest: bytes) -> Identity | None:
    for _ in range(2):
        try:
            return runtime.directory.identity_by_digest(digest)
        except CredentialNotLoaded:
            await runtime.load_credential(digest)
    return None


def shown_identity(identity: Identity | None) -> Any:
    if identity is None:
        return None
    values = {each.name: getattr(identity, each.name) for each in fields(identity) if each.name != "verdicts"}
    values["grants"] = {asset: sorted(entries) for asset, entries in identity.grants.items() if entries}
    return values


def shown_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    def shown(row: Any) -> dict[str, Any]:
        return {each.name: getattr(row, each.name) for each in fields(row)}

    return {
        "revision": snapshot.revision,
        "routes": {
            route.name: {**shown(route), "service": shown(route.service)} for route in snapshot.routes
        },
        "services": {service.name: shown(service) for service in snapshot.services},
        "trusted_proxies": snapshot.trusted_proxies,
        "cors_origins": snapshot.cors_origins,
        "problems": snapshot.problems,
    }


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run ORM code of the test beside the event loop, and leave no connection behind."""

    def call() -> Any:
        try:
            return function(*arguments)
        finally:
            connection.close()

    # Not asyncio.to_thread: it would hand the connection of this thread over.
    return await asyncio.get_running_loop().run_in_executor(None, call)
