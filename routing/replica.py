"""Keep this process's world in step with the committed configuration.

A commit is heard of at once (in process, or over Redis) and at the latest by the poll a second
later. Rows are read and compiled in one thread of the replica's own; what comes out is put in
place on the event loop, in one go, so that no request sees half of a revision.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError

from accounts.directory import Directory
from routing import configuration_source
from routing.configuration_source import Difference, Everything
from routing.last_good import LastGood
from routing.revision_channel import RevisionListener
from routing.runtime import Runtime
from routing.snapshot import CompileDefaults, Snapshot, compile_snapshot
from routing.worker_report import WorkerReport

logger = logging.getLogger("gatehouse.replica")

POLL_SECONDS = 1.0
REPORT_SECONDS = 5.0
WITHDRAW_SECONDS = 3.0
T = TypeVar("T")


class Replica:
    """Follows the database on behalf of one Runtime."""

    def __init__(
        self,
        runtime: Runtime,
        defaults: CompileDefaults,
        last_good: LastGood,
        report: WorkerReport,
        executor: ThreadPoolExecutor,
    ) -> None:
        self._runtime = runtime
        self._defaults = defaults
        self._last_good = last_good
        self._report = report
        self._executor = executor
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._listener: RevisionListener | None = None
        self._reported_at = 0.0
        self.revision = -1

    async def start(self, redis_url: str) -> None:
        """Load a configuration (from the database, else from disk) and follow it from then on."""
        self._listener = RevisionListener(self._wake, redis_url)
        self._listener.start()
        try:
            await self._load_everything()
        except (DatabaseError, InterfaceError) as error:
            logger.error("database unreachable at start: %s", type(error).__name__)
            await self._load_from_disk()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._listener is not None:
            await self._listener.stop()
        try:
            async with asyncio.timeout(WITHDRAW_SECONDS):
                await self._in_thread(self._report.withdraw)
        except (DatabaseError, InterfaceError, TimeoutError) as error:
            # Without the database the rest still stops in good order; the row is forgotten in a day.
            logger.warning("worker row not withdrawn: %s", type(error).__name__)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, _with_fresh_connection, function, *arguments
        )

    # --- following -----------------------------------------------------------------------
    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.catch_up()
            except (DatabaseError, InterfaceError) as error:
                logger.warning(
                    "database unreachable, serving revision %s: %s", self.revision, type(error).__name__
                )
            except Exception:
                # Whatever one revision holds: the last good one goes on being served.
                logger.exception("revision can't be loaded")

    async def catch_up(self) -> None:
        """Serve the newest revision. Raises DatabaseError while it can't be read."""
        if await self._in_thread(configuration_source.read_revision) != self.revision:
            difference = None
            if self.revision >= 0:
                difference = await self._in_thread(configuration_source.read_difference, self.revision)
            if difference is None:
                await self._load_everything()
            else:
                await self._apply(difference)
            self._reported_at = 0.0
        loop_time = asyncio.get_running_loop().time()
        if loop_time - self._reported_at > REPORT_SECONDS or not self._reported_at:
            self._reported_at = loop_time
            await self._in_thread(self._report.write, self.revision, self._problem())

    def _problem(self) -> str:
        snapshot = self._runtime.snapshot
        return "; ".join(snapshot.problems[:20]) if snapshot is not None else "no configuration"

    async def _load_everything(self) -> None:
        limit = self._runtime.directory.limit
        everything = await self._in_thread(configuration_source.read_everything, limit)
        await self._serve(everything)
        await self._in_thread(self._keep_base, everything)

    async def _load_from_disk(self) -> None:
        everything = await self._in_thread(self._last_good.read)
        if everything is None:
            logger.error(
                "no configuration on disk either: every route answers 503 until the database is back"
            )
            return
        await self._serve(everything)
        # The database may be at another revision by now, or at the same number with other rows.
        self.revision = -1
        logger.warning("serving the configuration kept on disk", extra={"revision": everything.rows.revision})

    async def _serve(self, everything: Everything) -> None:
        snapshot, directory = await self._in_thread(self._build, everything)
        self._runtime.directory = directory
        self._serve_snapshot(snapshot)
        self.revision = snapshot.revision

    def _build(self, everything: Everything) -> tuple[Snapshot, Directory]:
        old = self._runtime.directory
        directory = old.emptied()
        directory.put_roles(everything.directory.roles)
        # Principals last: a credential beyond the limit takes the principal of the one it pushes out along.
        for credential in everything.directory.credentials:
            directory.put_credential(credential)
        for principal in everything.directory.principals:
            directory.put_principal(principal)
        directory.put_absent(everything.directory.absent)
        return compile_snapshot(everything.rows, self._defaults), directory

    async def _apply(self, difference: Difference) -> None:
        snapshot = None
        if difference.rows is not None:
            snapshot = await self._in_thread(compile_snapshot, difference.rows, self._defaults)
        # From here to the end nothing is awaited: a request sees all of the revision or none of it.
        directory = self._runtime.directory
        if difference.roles is not None:
            directory.put_roles(difference.roles)
        for principal_id in difference.gone_principals:
            directory.drop_principal(principal_id)
        for credential_id in difference.gone_credentials:
            directory.drop_credential(credential_id)
        for credential in difference.credentials:
            directory.put_credential(credential)
        for principal in difference.principals:
            directory.put_principal(principal)
        if snapshot is None and self._runtime.snapshot is not None:
            snapshot = self._runtime.snapshot.at_revision(difference.revision)
        if snapshot is not None:
            self._serve_snapshot(snapshot)
        self.revision = difference.revision
        if not await self._in_thread(self._keep_difference, difference):
            everything = await self._in_thread(
                configuration_source.read_everything, self._runtime.directory.limit
            )
            await self._in_thread(self._keep_base, everything)

    def _serve_snapshot(self, snapshot: Snapshot) -> None:
        for problem in snapshot.problems:
            logger.error("configuration problem: %s", problem)
        self._runtime.serve_snapshot(snapshot)

    def _keep_base(self, everything: Everything) -> None:
        try:
            self._last_good.write_base(everything)
        except OSError as error:
            logger.warning("the copy on disk can't be written: %s", error)

    def _keep_difference(self, difference: Difference) -> bool:
        try:
            return self._last_good.append(difference)
        except OSError as error:
            logger.warning("the copy on disk can't be written: %s", error)
            return True


def _with_fresh_connection(function: Callable[..., T], *arguments: Any) -> T:
    with configuration_source.fresh_connection():
        return function(*arguments)
