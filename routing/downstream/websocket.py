"""A WebSocket handshake and what follows it, the way ASGI has them (spec 2.4, WebSocket).

Until it is accepted it is an HTTP request like any other. The relay takes the connection itself, through
the scope's extension `gatehouse.leg`; every other application gets events.
"""

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING, Any

from picows import WSMsgType

from routing.downstream.call import Call
from routing.downstream.response_writer import ResponseHead
from routing.pipeline.errors import BadHandshake, ClientLeft, GatewayError, WrongWebSocketVersion
from routing.relay import close_codes
from routing.relay.frames import BINARY, HIGH_WATER_BYTES, LOW_WATER_BYTES, TEXT, Leg, Owner
from routing.relay.handshake import accept_for
from routing.relay.options import DEFAULT_MESSAGE_BYTES, DEFAULT_PING_INTERVAL
from routing.relay.watch import Watch

if TYPE_CHECKING:
    from routing.downstream.connection import ClientConnection

# RFC 6455 4.1: sixteen bytes in base64, so the last character before the padding carries two bits.
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==").fullmatch
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
LOOK_SECONDS = 1.0


def is_websocket(scope: dict[str, Any]) -> bool:
    """Whether an upgrade that was asked for is one to WebSocket (RFC 6455 section 4.1)."""
    return scope["method"] == "GET" and any(
        name == b"upgrade" and value.strip().lower() == b"websocket" for name, value in scope["headers"]
    )


class WebSocketCall(Call):
    """Served by one run of the application, which may end before a connection that it took over does."""

    # Defaults stand on the class, as for any Call.
    _leg: Leg | None = None
    _events: "_Events | None" = None
    _connect_given = False

    def __init__(self, connection: "ClientConnection", scope: dict[str, Any]) -> None:
        offered = _values(scope, b"sec-websocket-protocol")
        subprotocols = [each.strip().decode("latin-1") for value in offered for each in value.split(b",")]
        scope["type"] = "websocket"
        scope["scheme"] = "ws"
        scope["subprotocols"] = [each for each in subprotocols if each]
        scope["extensions"] = {"websocket.http.response": {}, "gatehouse.leg": self}
        super().__init__(connection, scope)
        self._early: list[bytes] = []
        self._early_bytes = 0

    def handshake_problem(self) -> GatewayError | None:
        """What RFC 6455 4.2.1 refuses."""
        scope = self.scope
        if _values(scope, b"sec-websocket-version") != [b"13"]:
            return WrongWebSocketVersion("Sec-WebSocket-Version is not 13")
        keys = _values(scope, b"sec-websocket-key")
        if len(keys) != 1 or _KEY(keys[0]) is None:
            return BadHandshake("Sec-WebSocket-Key is not sixteen bytes in base64")
        if any(_TOKEN(each.encode("latin-1")) is None for each in scope["subprotocols"]):
            return BadHandshake("Sec-WebSocket-Protocol holds something else than tokens")
        return None

    def asgi_scope(self) -> dict[str, Any]:
        if self.old:
            self.scope.setdefault("problem", BadHandshake("a WebSocket needs HTTP/1.1"))
        return super().asgi_scope()

    # --- what comes before the acceptance ------------------------------------------------
    def feed_early(self, data: bytes) -> int:
        """Keep what comes before the acceptance; returns how much there is by now."""
        self._early.append(data)
        self._early_bytes += len(data)
        return self._early_bytes

    # --- acceptance ----------------------------------------------------------------------
    def accept_leg(self, message: dict[str, Any], owner: Owner, max_message_bytes: int) -> tuple[Leg, bytes]:
        """Switch protocols; the leg, and what to start it with. Raises ClientLeft.

        The application may return after it: the connection is the owner's.
        """
        connection = self.connection
        if self.disconnected or connection.closed:
            raise ClientLeft("the client left before it was accepted")
        self.on_left = None
        connection.write(self._switch(message))
        self.responded = True
        leg = self._leg = Leg(owner, max_message_bytes, False)
        leg.attach(connection.hand_over())
        leg.released = connection.socket_ended
        early, self._early = b"".join(self._early), []
        # Nobody looks at the request any more, and it may be open for days.
        self.scope = {}
        return leg, early

    def _switch(self, message: dict[str, Any]) -> bytes:
        key = _values(self.scope, b"sec-websocket-key")[0]
        headers = [(b"upgrade", b"websocket"), (b"sec-websocket-accept", accept_for(key))]
        subprotocol = message.get("subprotocol")
        if subprotocol:
            headers.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        head = ResponseHead(101, [*headers, *message.get("headers", ())])
        return head.encode(b"connection: Upgrade")

    # --- ASGI ----------------------------------------------------------------------------
    async def receive(self) -> dict[str, Any]:
        if not self._connect_given:
            self._connect_given = True
            return {"type": "websocket.connect"}
        while True:
            event = self._events.take() if self._events is not None else None
            if event is not None:
                return event
            if self._events is None and (self.disconnected or self.finished):
                return _disconnection(close_codes.BROKEN_OFF, "")
            await self._news()

    async def _news(self) -> None:
        waiter: asyncio.Future[None] = self.connection.loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        await waiter

    async def send(self, message: dict[str, Any]) -> None:
        """Raises RuntimeError for what ASGI has no place for; returns when the client can take more."""
        kind = message["type"]
        if self._events is not None:
            await self._send_event(kind, message)
        elif self.disconnected:
            return
        elif kind == "websocket.accept":
            events = _Events(self)
            leg, early = self.accept_leg(message, events, DEFAULT_MESSAGE_BYTES)
            self._events = events
            events.start(leg, early)
            if self.connection.closing_soon:
                self.drain()
        elif kind == "websocket.http.response.start":
            self._refuse_with(message["status"], message.get("headers", ()))
            await super().send({**message, "type": "http.response.start"})
        elif kind == "websocket.http.response.body":
            await super().send({**message, "type": "http.response.body"})
        elif kind == "websocket.close":
            self._refuse_with(403, ())
            await super().send({"type": "http.response.start", "status": 403, "headers": []})
            await super().send({"type": "http.response.body"})
        else:
            raise RuntimeError(f"{kind} before the WebSocket was accepted")

    def _refuse_with(self, status: int, headers: Any) -> None:
        # What follows the head may be frames: nothing more of this connection is taken for a request.
        self.keep_alive = False
        self.body_complete = not self._early

    async def _send_event(self, kind: str, message: dict[str, Any]) -> None:
        assert self._leg is not None
        leg = self._leg
        if kind == "websocket.close":
            leg.close(
                close_codes.sendable(message.get("code", close_codes.NORMAL)), message.get("reason") or ""
            )
        elif kind == "websocket.send":
            data = message.get("bytes")
            if data is None:
                leg.send(TEXT, message["text"].encode())
            else:
                leg.send(BINARY, data)
            while leg.full and not leg.closing:
                await self._news()
        else:
            raise RuntimeError(f"{kind} after the WebSocket was accepted")

    # --- ends ----------------------------------------------------------------------------
    def ended(self, task: "asyncio.Task[None]") -> None:
        self.task = None
        if self._leg is None:
            super().ended(task)
            return
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self.connection.report(failure)
        if failure is not None or task.cancelled():
            self._leg.close(close_codes.INTERNAL_ERROR, "")
        elif self._events is not None:
            self._leg.close(close_codes.NORMAL, "")

    def drain(self) -> None:
        """The process is about to stop; a relay is told so by its own keeper."""
        if self._events is not None and self._leg is not None:
            self._leg.close(close_codes.SERVICE_RESTART, "the gateway restarts")
            self._events.over(close_codes.SERVICE_RESTART, "the gateway restarts")


class _Events:
    """What a leg tells, kept as events until the application asks for them."""

    def __init__(self, call: WebSocketCall) -> None:
        self._call = call
        self._waiting: deque[tuple[dict[str, Any], int]] = deque()
        self._bytes = 0
        self._end: dict[str, Any] | None = None
        self._leg: Leg | None = None
        self._watch: Watch | None = None
        self._look: asyncio.TimerHandle | None = None

    def start(self, leg: Leg, early: bytes) -> None:
        self._leg = leg
        leg.deliver = self.message
        loop = self._call.connection.loop
        self._watch = Watch(loop.time())
        self._look = loop.call_later(LOOK_SECONDS, self._look_after)
        leg.start(early)

    def take(self) -> dict[str, Any] | None:
        if not self._waiting:
            return self._end
        event, size = self._waiting.popleft()
        self._bytes -= size
        if self._bytes <= LOW_WATER_BYTES and self._leg is not None:
            self._leg.resume_reading()
        return event

    def message(self, kind: WSMsgType, data: bytes) -> None:
        text = kind is TEXT
        event = {"type": "websocket.receive", "text" if text else "bytes": data.decode() if text else data}
        self._waiting.append((event, len(data)))
        self._bytes += len(data)
        if self._bytes > HIGH_WATER_BYTES and self._leg is not None:
            self._leg.pause_reading()
        self._call.wake()

    def over(self, code: int, reason: str) -> None:
        """The last event; what came before is still given out."""
        if self._end is None:
            self._end = _disconnection(code, reason)
            if self._look is not None:
                self._look.cancel()
            self._call.wake()

    def _look_after(self) -> None:
        assert self._leg is not None
        assert self._watch is not None
        loop = self._call.connection.loop
        self._look = loop.call_later(LOOK_SECONDS, self._look_after)
        if self._watch.look(self._leg, loop.time(), DEFAULT_PING_INTERVAL) is not None:
            self._leg.close(close_codes.INTERNAL_ERROR, "the client answers no ping, or takes no more")
            self.over(close_codes.BROKEN_OFF, "")
        elif self._leg.shrink():
            # The buffer's owner is asked for `send` with every message.
            pass

    # --- Owner ---------------------------------------------------------------------------
    def leg_closed(self, leg: Leg, code: int, reason: str) -> None:
        self.over(code, reason)

    def leg_violated(self, leg: Leg, code: int, what: str) -> None:
        self.over(code, what)

    def leg_gone(self, leg: Leg) -> None:
        self.over(close_codes.BROKEN_OFF, "")

    def leg_full(self, leg: Leg) -> None:
        """`send` looks for itself."""

    def leg_free(self, leg: Leg) -> None:
        self._call.wake()


def _disconnection(code: int, reason: str) -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


def _values(scope: dict[str, Any], wanted: bytes) -> list[bytes]:
    return [value.strip() for name, value in scope["headers"] if name == wanted]
