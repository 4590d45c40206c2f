"""What a route says about its WebSockets, as a frozen value. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_MESSAGE_BYTES = 1_048_576
DEFAULT_PING_INTERVAL = 20.0


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """Limits of one route's WebSockets; None: no such limit. Times are seconds.

    Rates are per connection, of what the client sends, and allow a burst of one second's worth.
    """

    allowed_origins: frozenset[str] = frozenset()  # empty: the page's own host only; "*": any
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES
    ping_interval: float | None = DEFAULT_PING_INTERVAL
    messages_per_second: int | None = None
    bytes_per_second: int | None = None
    max_age: float | None = None
    idle_timeout: float | None = None
    max_connections: int | None = None  # of one principal


def compile_options(row: Mapping[str, Any]) -> WebSocketOptions:
    """Read the `websocket_` columns of a route's row; a copy on disk from before they existed has none."""
    return WebSocketOptions(
        allowed_origins=frozenset(origin.lower() for origin in row.get("websocket_allowed_origins") or ()),
        max_message_bytes=row.get("websocket_max_message_bytes") or DEFAULT_MESSAGE_BYTES,
        # Zero is how a row says: no pings.
        ping_interval=row.get("websocket_ping_interval", DEFAULT_PING_INTERVAL) or None,
        messages_per_second=row.get("websocket_messages_per_second"),
        bytes_per_second=row.get("websocket_bytes_per_second"),
        max_age=row.get("websocket_max_age"),
        idle_timeout=row.get("websocket_idle_timeout"),
        max_connections=row.get("websocket_max_connections"),
    )
