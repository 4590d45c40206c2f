"""A client's leg where the ASGI server is somebody else's: its events in the place of frames.

It can't ping, hears no reasons that the server keeps to itself, and costs two tasks a connection.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from picows import WSMsgType

from routing.relay import close_codes
from routing.relay.frames import (
    BINARY,
    CLOSE_SECONDS,
    HIGH_WATER_BYTES,
    LOW_WATER_BYTES,
    TEXT,
    Deliver,
    drop,
)

if TYPE_CHECKING:
    from routing.relay.pump import Relay

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class AsgiLeg:
    """Does what a Leg does; served by `run`, in the task that the server gave the application."""

    def __init__(self, owner: "Relay", receive: Receive, send: Send, max_message_bytes: int) -> None:
        self.deliver: Deliver = drop
        self.messages = self.bytes = self.frames = self.freed = 0
        self.closing = False
        self.gone_for_good = False
        self._owner = owner
        self._receive = receive
        self._send = send
        self._limit = max_message_bytes
        self._outgoing: deque[dict[str, Any]] = deque()
        self._sizes: deque[int] = deque()
        self._unsent = 0
        self._full = False
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until the client has left, or has been closed. A cancellation from outside ends the relay too."""
        self._reader = asyncio.ensure_future(self._read())
        self._writer = asyncio.ensure_future(self._write())
        tasks = {self._reader, self._writer}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if not task.cancelled():
                    task.result()
        except asyncio.CancelledError:
            self._owner.end(close_codes.GOING_AWAY, "the server ended the connection")
            raise
        finally:
            for task in tasks:
                task.cancel()
            self._gone()

    # --- reading -------------------------------------------------------------------------
    async def _read(self) -> None:
        while True:
            await self._may_read.wait()
            message = await self._receive()
            if message["type"] != "websocket.receive":
                self._left(message)
                return
            kind, data = BINARY, message.get("bytes")
            if data is None:
                kind, data = TEXT, message["text"].encode()
            if len(data) > self._limit:
                what = f"messages may have {self._limit} bytes"
                self.close(close_codes.MESSAGE_TOO_BIG, what)
                self._owner.leg_violated(self, close_codes.MESSAGE_TOO_BIG, what)
                return
            self.frames += 1
            self.messages += 1
            self.bytes += len(data)
            self.deliver(kind, data)

    def _left(self, message: dict[str, Any]) -> None:
        code, reason = message.get("code", close_codes.NO_STATUS), message.get("reason") or ""
        told, self.closing = not self.closing, True
        self._outgoing.clear()
        self._news.set()
        if told:
            self._owner.leg_closed(self, code, reason)

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    @property
    def reading_paused(self) -> bool:
        return not self._may_read.is_set()

    def start(self, early: bytes) -> None:
        """The server keeps what comes early."""

    # --- writing -------------------------------------------------------------------------
    def send(self, kind: WSMsgType, data: bytes) -> None:
        if self.closing:
            return
        text = kind is TEXT
        self._put(
            {"type": "websocket.send", "text" if text else "bytes": data.decode() if text else data},
            len(data),
        )
        if self._unsent > HIGH_WATER_BYTES and not self._full:
            self._full = True
            self._owner.leg_full(self)

    def close(self, code: int | None, reason: str) -> None:
        if self.closing:
            return
        self.closing = True
        # ASGI has no close without a code: 1000 is the nearest. A reason must fit a control frame.
        fitting = close_codes.close_payload(close_codes.NORMAL, reason)[2:].decode()
        self._put({"type": "websocket.close", "code": code or close_codes.NORMAL, "reason": fitting}, 0)
        if self._reader is not None:
            # Some servers can't send a close frame while a receive() is pending.
            self._reader.cancel()
        # A client that takes nothing finds the connection cut.
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)

    def _put(self, message: dict[str, Any], size: int) -> None:
        self._outgoing.append(message)
        self._sizes.append(size)
        self._unsent += size
        self._news.set()

    async def _write(self) -> None:
        while not (self.closing and not self._outgoing):
            await self._news.wait()
            self._news.clear()
            while self._outgoing:
                try:
                    await self._send(self._outgoing.popleft())
                except OSError:
                    return  # the client has gone; receive() says so too
                self._unsent -= self._sizes.popleft()
                if self._full and self._unsent <= LOW_WATER_BYTES:
                    self._full = False
                    self.freed += 1
                    self._owner.leg_free(self)

    # --- what a leg of our own knows more of ---------------------------------------------
    def unsent_bytes(self) -> int:
        return self._unsent

    def unacknowledged_bytes(self) -> int:
        return 0

    def room(self) -> int:
        return 0

    def ping(self) -> None:
        """The server pings, or nobody does: its silence is not held against the client."""
        self.frames += 1

    def shrink(self) -> bool:
        return False

    def abort(self) -> None:
        for task in (self._reader, self._writer):
            if task is not None:
                task.cancel()

    def _gone(self) -> None:
        if not self.gone_for_good:
            self.gone_for_good = True
            self._owner.leg_gone(self)
            self.closing = True
