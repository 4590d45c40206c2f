"""Which close codes may stand in a close frame, and what becomes of those that may not (RFC 6455 7.4). Pure."""

from routing.pipeline.errors import GatewayError

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
NO_STATUS = 1005
BROKEN_OFF = 1006
INVALID_DATA = 1007
MESSAGE_TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
BAD_GATEWAY = 1014
UNAUTHENTICATED = 4401
FORBIDDEN = 4403
LIMIT_EXCEEDED = 4429

# 1004 is reserved; 1005, 1006 and 1015 are never sent: they say what happened without a close frame.
_REGISTERED = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
REASON_BYTES = 123


def may_be_sent(code: int) -> bool:
    return code in _REGISTERED or 3000 <= code <= 4999


def sendable(code: int | None) -> int | None:
    """The code to pass on; None for a close without one."""
    if code is None or code == NO_STATUS:
        return None
    return code if may_be_sent(code) else PROTOCOL_ERROR


def close_payload(code: int | None, reason: str) -> bytes:
    """The payload of a close frame; the reason is cut to what a control frame holds, between characters."""
    if code is None:
        return b""
    text = reason.encode()[:REASON_BYTES].decode(errors="ignore").encode()
    return code.to_bytes(2, "big") + text


def read_close(payload: bytes) -> tuple[int, str] | None:
    """Code and reason of a close frame that arrived; (1005, "") without one; None when it is malformed."""
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        return None
    code = int.from_bytes(payload[:2], "big")
    if not may_be_sent(code):
        return None
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        return None


def close_code_of(error: GatewayError) -> int:
    """The private code that stands for a refusal's status: 4401, 4403, 4404, 4429, 4503 …"""
    return 4000 + error.status
