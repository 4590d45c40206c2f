"""Join a client's leg and an upstream's, and end both in good order.

A message goes from the callback that read it straight into the other leg's socket: no task, queue or
formatting between them. A leg whose peer takes too little stops the reading of the other, which is all the
back-pressure there is. Time is looked at once a second.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any

from picows import WSMsgType

from routing.connection_places import Place
from routing.pipeline.errors import Refusal, Unauthenticated
from routing.pipeline.exchange import Exchange
from routing.relay import close_codes
from routing.relay.asgi_leg import AsgiLeg
from routing.relay.frames import Leg, drop
from routing.relay.meter import Meter
from routing.relay.watch import Trouble, Watch
from routing.snapshot import CompiledRoute

AnyLeg = Leg | AsgiLeg
# What the upstream hears too when the gateway ends a connection; of other reasons, that the client goes away.
_SAID_TO_BOTH = frozenset({close_codes.MESSAGE_TOO_BIG, close_codes.SERVICE_RESTART})


class Relay:
    """One connection from the decision on. Raises nothing: how it ended is in `code`, `reason`, `closed_by`.

    Its two legs are set before `start`; `ended` is called once, when both are gone after that.
    """

    __slots__ = (
        "_active_at", "_client_watch", "_ended", "_meter", "_seen", "_started", "_upstream_watch", "client",
        "closed_by", "code", "exchange", "place", "reason", "route", "upstream",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, route: CompiledRoute) -> None:
        self.exchange = exchange
        self.route = route
        self.place: Place | None = None  # where connections are counted over all workers
        self.upstream = Leg(self, route.websocket_options.max_message_bytes, True)
        self.client: AnyLeg | None = None
        self.code: int | None = None
        self.reason = ""
        self.closed_by = ""
        self._ended: Callable[[Relay], None] | None = None
        self._meter: Meter | None = None
        self._seen = 0
        now = monotonic()
        self._started = self._active_at = now
        self._client_watch = Watch(now)
        self._upstream_watch = Watch(now)

    def start(
        self, client: AnyLeg, from_client: bytes, from_upstream: bytes, ended: "Callable[[Relay], None]"
    ) -> None:
        """Carry messages from now on; the bytes are what each side sent before there were frames."""
        self.client = client
        self._ended = ended
        if self.closed_by:
            # It was to end while the legs were being opened.
            client.close(close_codes.sendable(self.code), self.reason)
            self._close_upstream()
        else:
            options = self.route.websocket_options
            if options.messages_per_second or options.bytes_per_second:
                self._meter = Meter(options.messages_per_second, options.bytes_per_second, monotonic())
            self._connect(client)
        self.upstream.start(from_upstream)
        client.start(from_client)

    def _connect(self, client: AnyLeg) -> None:
        client.deliver = self.upstream.send if self._meter is None else self._deliver_metered
        self.upstream.deliver = client.send

    def _deliver_metered(self, kind: WSMsgType, data: bytes) -> None:
        assert self._meter is not None
        if self._meter.take(len(data), monotonic()):
            self.upstream.send(kind, data)
            return
        # What may not pass has not passed.
        assert self.client is not None
        self.client.messages -= 1
        self.client.bytes -= len(data)
        self.end(close_codes.LIMIT_EXCEEDED, "too many messages or bytes a second")

    # --- what the legs tell --------------------------------------------------------------
    def leg_full(self, leg: AnyLeg) -> None:
        other = self._other(leg)
        if other is not None:
            other.pause_reading()

    def leg_free(self, leg: AnyLeg) -> None:
        other = self._other(leg)
        if other is not None:
            other.resume_reading()

    def leg_closed(self, leg: AnyLeg, code: int, reason: str) -> None:
        if not self.closed_by:
            self._finish(code, reason, "upstream" if leg is self.upstream else "client")
            self._close_other(leg, close_codes.sendable(code), reason)

    def leg_violated(self, leg: AnyLeg, code: int, what: str) -> None:
        if self.closed_by:
            return
        self.exchange.abort = what
        too_big = code == close_codes.MESSAGE_TOO_BIG
        if leg is self.upstream:
            self._finish(code if too_big else close_codes.BAD_GATEWAY, "", "gateway")
            self._close_other(leg, self.code, "")
        else:
            self._finish(code, what, "gateway")
            self._close_other(leg, code if too_big else close_codes.GOING_AWAY, "")

    def leg_gone(self, leg: AnyLeg) -> None:
        if not self.closed_by:
            self._broke_off(leg)
        other = self._other(leg)
        if (other is None or other.gone_for_good) and self._ended is not None:
            ended, self._ended = self._ended, None
            self.exchange.bytes_in = self.client.bytes if self.client is not None else 0
            self.exchange.bytes_out = self.upstream.bytes
            ended(self)

    def _broke_off(self, leg: AnyLeg) -> None:
        if leg is self.upstream:
            self.exchange.abort = "upstream_abort"
            self._finish(close_codes.BAD_GATEWAY, "the service broke off", "upstream")
            self._close_other(leg, self.code, self.reason)
        else:
            self._finish(close_codes.BROKEN_OFF, "", "client")
            self._close_other(leg, close_codes.GOING_AWAY, "")

    def _other(self, leg: AnyLeg) -> AnyLeg | None:
        return self.client if leg is self.upstream else self.upstream

    # --- ends ----------------------------------------------------------------------------
    def _finish(self, code: int, reason: str, closed_by: str) -> None:
        self.code, self.reason, self.closed_by = code, reason, closed_by
        self.upstream.deliver = drop
        if self.client is not None:
            self.client.deliver = drop

    def _close_other(self, leg: AnyLeg, code: int | None, reason: str) -> None:
        other = self._other(leg)
        if other is not None:
            other.close(code, reason)

    def _close_upstream(self) -> None:
        assert self.code is not None
        self.upstream.close(self.code if self.code in _SAID_TO_BOTH else close_codes.GOING_AWAY, "")

    def end(self, code: int, reason: str) -> None:
        """Close both sides, on the gateway's own account."""
        if self.closed_by:
            return
        self._finish(code, reason, "gateway")
        if self.client is not None:
            self.client.close(code, reason)
            self._close_upstream()

    def end_access(self, refusal: Refusal) -> None:
        code = close_codes.UNAUTHENTICATED if isinstance(refusal, Unauthenticated) else close_codes.FORBIDDEN
        if not self.closed_by:
            self.exchange.abort = f"{refusal.code}: {refusal.reason}"
        self.end(code, refusal.code)

    def drain(self) -> None:
        self.end(close_codes.SERVICE_RESTART, "the gateway restarts")

    def abandon(self) -> None:
        """Cut both connections: nobody looks after them any more."""
        self.upstream.abort()
        if self.client is not None:
            self.client.abort()

    # --- looking after -------------------------------------------------------------------
    def look_after(self, now: float) -> None:
        """Deadlines, pings, peers that don't take what is sent to them, buffers that have grown."""
        if self.closed_by or self.client is None:
            return
        options = self.route.websocket_options
        seen = self.client.messages + self.upstream.messages
        if seen != self._seen:
            self._seen, self._active_at = seen, now
        if options.max_age is not None and now - self._started > options.max_age:
            self.end(close_codes.GOING_AWAY, "the connection has reached its longest life")
        elif options.idle_timeout is not None and now - self._active_at > options.idle_timeout:
            self.end(close_codes.GOING_AWAY, "idle")
        elif (trouble := self._client_watch.look(self.client, now, options.ping_interval)) is not None:
            self._give_up("client", trouble, "the client answers no ping")
        elif (trouble := self._upstream_watch.look(self.upstream, now, options.ping_interval)) is not None:
            self._give_up("upstream", trouble, "the service answers no ping")
        elif self.client.shrink() | self.upstream.shrink():
            self._connect(self.client)

    def _give_up(self, side: str, trouble: Trouble, silence: str) -> None:
        self.exchange.abort = f"{side}_{trouble.value}"
        reason = silence if trouble is Trouble.SILENT else "a peer takes no more"
        self.end(close_codes.INTERNAL_ERROR, reason)


def ending_of(relay: Relay) -> dict[str, Any]:
    """What the record of a connection's end says."""
    exchange, client = relay.exchange, relay.client
    ending: dict[str, Any] = {
        "close_code": relay.code,
        "closed_by": relay.closed_by,
        "messages_in": 0 if client is None else client.messages,
        "messages_out": relay.upstream.messages,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
    }
    if relay.reason:
        ending["close_reason"] = relay.reason
    if exchange.abort:
        ending["abort"] = exchange.abort
    return ending
