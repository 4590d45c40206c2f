"""The live tail over a WebSocket: one reader of the spool a watcher, only while somebody watches."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user_model
from django.urls import path

from auditlog.tail import POLL_SECONDS, SpoolTail, TailFilter

LINES_BEFORE = 50
MOST_WATCHERS = 20
# A session that ended or a permission that was taken away ends the tail too.
RECHECK_SECONDS = 5.0
CLOSE_FORBIDDEN, CLOSE_BUSY = 4403, 4429

_watchers: set["TailConsumer"] = set()


class TailConsumer(AsyncWebsocketConsumer):
    """Sends `{"records": [...], "skipped": n}` until the watcher leaves."""

    _task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        if not await self._may_watch():
            await self.close(CLOSE_FORBIDDEN)
            return
        if len(_watchers) >= MOST_WATCHERS:
            await self.accept()
            await self.close(CLOSE_BUSY)
            return
        _watchers.add(self)
        await self.accept()
        self._task = asyncio.create_task(self._follow(self._wanted()))

    async def disconnect(self, code: int) -> None:
        _watchers.discard(self)
        if self._task is not None:
            self._task.cancel()

    def _wanted(self) -> TailFilter:
        query = parse_qs(self.scope.get("query_string", b"").decode("latin-1"))
        return TailFilter(*(query.get(name, [""])[0][:255] for name in TailFilter._fields))

    async def _follow(self, wanted: TailFilter) -> None:
        tail = await sync_to_async(SpoolTail, thread_sensitive=False)(
            Path(settings.GATEWAY_AUDIT_SPOOL_DIR), wanted
        )
        try:
            await self._send(await database_sync_to_async(tail.before)(LINES_BEFORE), 0)
            waited = 0.0
            while True:
                await asyncio.sleep(POLL_SECONDS)
                batch = await sync_to_async(tail.poll, thread_sensitive=False)()
                if batch.records:
                    await self._send(batch.records, batch.skipped)
                waited += POLL_SECONDS
                if waited >= RECHECK_SECONDS:
                    waited = 0.0
                    if not await self._may_watch():
                        await self.close(CLOSE_FORBIDDEN)
                        return
        finally:
            tail.close()

    async def _send(self, records: list[dict[str, Any]], skipped: int) -> None:
        await self.send(orjson.dumps({"records": records, "skipped": skipped}).decode())

    @database_sync_to_async
    def _may_watch(self) -> bool:
        """Staff who may view audit records, asked anew of the database and of the session."""
        user = self.scope.get("user")
        session = self.scope.get("session")
        if user is None or not user.is_authenticated or session is None:
            return False
        if not session.exists(session.session_key):
            return False
        fresh = get_user_model()._default_manager.filter(pk=user.pk, is_active=True, is_staff=True).first()
        return fresh is not None and fresh.has_perm("auditlog.view_auditrecord")


websocket_urlpatterns = [path("admin/audit/tail/ws", TailConsumer.as_asgi())]
