"""A WebSocket handshake and what follows it, the way ASGI has them."""

from typing import TYPE_CHECKING, Any

from routing.downstream.call import Call
from routing.pipeline.errors import GatewayError

if TYPE_CHECKING:
    from routing.downstream.connection import ClientConnection


def is_websocket(scope: dict[str, Any]) -> bool:
    """Whether an upgrade that was asked for is one to WebSocket (RFC 6455 section 4.1)."""
    return scope["method"] == "GET" and any(
        name == b"upgrade" and value.strip().lower() == b"websocket" for name, value in scope["headers"]
    )


class WebSocketCall(Call):
    """Before the acceptance an HTTP request like any other; afterwards frames."""

    def __init__(self, connection: "ClientConnection", scope: dict[str, Any]) -> None:
        super().__init__(connection, scope | {"type": "websocket", "scheme": "ws"})
        self._early: list[bytes] = []
        self._early_bytes = 0

    def handshake_problem(self) -> GatewayError | None:
        return None

    def feed_early(self, data: bytes) -> int:
        """Keep what comes before the acceptance; returns how much there is by now."""
        self._early.append(data)
        self._early_bytes += len(data)
        return self._early_bytes

    def drain(self) -> None:
        """The process is about to stop."""
