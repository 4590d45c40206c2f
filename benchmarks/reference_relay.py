"""What the relay is measured against: a stock Channels consumer over the `websockets` library, under granian.

It decides nothing, limits nothing and records nothing: what remains is the cost of a message.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from websockets.asyncio.client import ClientConnection, connect


class StockRelay(AsyncWebsocketConsumer):  # type: ignore[misc]
    upstream: ClientConnection
    reading: asyncio.Task[None]

    async def connect(self) -> None:
        self.upstream = await connect(os.environ["REFERENCE_UPSTREAM"], compression=None, proxy=None)
        await self.accept()
        self.reading = asyncio.create_task(self._pass_on())

    async def _pass_on(self) -> None:
        async for message in self.upstream:
            if isinstance(message, str):
                await self.send(text_data=message)
            else:
                await self.send(bytes_data=message)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.upstream.send(text_data if text_data is not None else bytes_data or b"")

    async def disconnect(self, code: int) -> None:
        self.reading.cancel()
        await self.upstream.close()


relay = StockRelay.as_asgi()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await relay(scope, receive, send)
