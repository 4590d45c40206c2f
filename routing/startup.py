"""Build and start the data plane of a process, and stop it in good order."""

import asyncio
import gc
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings

from accounts.directory import Directory
from accounts.tickets import ticket_book
from auditlog import recorder as audit
from auditlog.configuration import redaction_from_settings
from routing import configuration_source
from routing.access_log import AccessLog
from routing.connection_places import ConnectionPlaces
from routing.key_usage import KeyUsage
from routing.last_good import LastGood
from routing.pipeline.errors import AuditUnavailable
from routing.pipeline.hygiene import HygieneLimits
from routing.record import Recorder
from routing.replica import Replica
from routing.runtime import Runtime, development_identity, set_runtime, static_identities
from routing.snapshot import CompileDefaults
from routing.upstream.forward import Forwarder
from routing.upstream.pool import Pools
from routing.worker_report import WorkerReport


class DataPlane:
    """Everything that runs in the background of a process that serves requests."""

    def __init__(self) -> None:
        # One thread: configuration is read in order, and a slow database holds up nothing else.
        self._replica_thread = ThreadPoolExecutor(1, thread_name_prefix="replica")
        self._lookup_threads = ThreadPoolExecutor(2, thread_name_prefix="credential-lookup")
        usage = KeyUsage()
        self.runtime = build_runtime(self._lookup_threads, usage)
        self._replica = Replica(
            self.runtime,
            CompileDefaults(
                settings.GATEWAY_MAX_BODY_BYTES,
                settings.GATEWAY_ROUTE_TIMEOUT,
                tuple(settings.GATEWAY_CORS_ORIGINS),
            ),
            LastGood(settings.GATEWAY_DATA_DIR / "last_good"),
            WorkerReport(settings.GATEWAY_ROLE, usage),
            self._replica_thread,
        )
        self._sweep: asyncio.Task[None] | None = None

    async def start(self) -> None:
        audit.start()
        if self.runtime.access_log is not None:
            self.runtime.access_log.start()
        await self._replica.start(settings.GATEWAY_REDIS_URL)
        self._sweep = asyncio.create_task(self.runtime.sweep_forever())
        set_runtime(self.runtime)
        # What is there by now stays: a full collection would stop every request to look at all of it.
        gc.collect()
        gc.freeze()

    async def drain(self, seconds: float) -> bool:
        """End what would never end by itself; whether all of it was gone in time."""
        return await self.runtime.live.drain(seconds)

    async def stop(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        await self._replica.stop()
        self.runtime.forwarder.pools.close()
        await self.runtime.tickets.close()
        await self.runtime.places.close()
        if self.runtime.access_log is not None:
            self.runtime.access_log.close()
        audit.close()
        self._replica_thread.shutdown(wait=False)
        self._lookup_threads.shutdown(wait=False)


def build_runtime(lookup_threads: ThreadPoolExecutor | None = None, usage: KeyUsage | None = None) -> Runtime:
    """A runtime by the settings, without a configuration yet."""
    directory = Directory(settings.GATEWAY_API_KEY_PEPPER.encode(), settings.GATEWAY_DIRECTORY_PRELOAD)
    static_identities(directory, settings.GATEWAY_API_KEY)
    pools = Pools(
        settings.GATEWAY_UPSTREAM_CONNECTIONS,
        settings.GATEWAY_ALLOW_LOOPBACK_UPSTREAMS,
        ssl.create_default_context(),
        settings.GATEWAY_BIND,
    )
    access_log = None
    if settings.GATEWAY_ACCESS_LOG:
        access_log = AccessLog(
            as_json=settings.GATEWAY_LOG_FORMAT != "text", redact=redaction_from_settings().log_words
        )
    recorder = build_recorder(access_log, usage)
    forwarder = Forwarder(pools)
    forwarder.settle = recorder.settle
    if not settings.GATEWAY_AUDIT_REQUIRED:
        # Where it is, each answer waits for the word on its own record.
        forwarder.hold_records, forwarder.release_records = recorder.hold, recorder.release
    return Runtime(
        directory=directory,
        forwarder=forwarder,
        recorder=recorder,
        limits=HygieneLimits(
            settings.GATEWAY_MAX_HEADER_COUNT,
            settings.GATEWAY_MAX_HEADER_BYTES,
            settings.GATEWAY_UNDERSCORE_HEADERS == "reject",
        ),
        access_log=access_log,
        find_credential=configuration_source.find_credential,
        executor=lookup_threads,
        tickets=ticket_book(),
        places=ConnectionPlaces(settings.GATEWAY_REDIS_URL),
        default_identity=development_identity() if settings.GATEWAY_AUTH_MODE == "dev" else None,
    )


def build_recorder(access_log: AccessLog | None, usage: KeyUsage | None = None) -> Recorder:
    """The recorder by the settings: one that counts what it can't store, or one that refuses."""
    note_key = usage.note if usage is not None else None
    if not settings.GATEWAY_AUDIT_REQUIRED:
        return Recorder(access_log, audit.record, note_key=note_key, audit_turn=audit.record_turn)
    settle = _settle if settings.GATEWAY_AUDIT_FSYNC == "always" else None
    return Recorder(access_log, _record_or_refuse, settle, audit.has_room, note_key, _record_turn_or_refuse)


def _record_turn_or_refuse(*turn: Any) -> list[bool]:
    try:
        return audit.record_turn_required(*turn)
    except audit.AuditUnavailable as error:
        raise AuditUnavailable(str(error)) from error


def _record_or_refuse(event: str, fields: dict[str, Any]) -> None:
    try:
        audit.record_required(event, fields)
    except audit.AuditUnavailable as error:
        raise AuditUnavailable(str(error)) from error


async def _settle() -> None:
    try:
        await audit.durable()
    except audit.AuditUnavailable as error:
        raise AuditUnavailable(str(error)) from error
