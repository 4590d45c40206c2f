"""One request on its way through the gateway, as a plain value. Pure: no I/O, no framework."""

from typing import TYPE_CHECKING, Any

from accounts.identity import Presented

if TYPE_CHECKING:
    from accounts.identity import Identity
    from routing.snapshot import CompiledRoute


class Exchange:
    """What hygiene made of a request, what the decision core found out, and what became of it.

    `path` and `query` are the one canonical target, as bytes: matching, grants, audit and the
    upstream all use them and nothing else. `headers` holds the client's fields that may pass,
    names in lower case.
    """

    # Defaults stand on the class: a request pays only for what it sets.
    scheme: str = "http"
    host: str = ""
    peer: str = ""
    client_ip: str = ""
    presented: Presented = Presented()
    content_length: int | None = None
    chunked: bool = False
    encoded_slash: bool = False
    websocket: bool = False
    by_ticket: bool = False
    origin: bytes | None = None
    user_agent: bytes = b""
    request_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    started: float = 0.0  # seconds, monotonic
    started_at: float = 0.0  # seconds since the epoch
    # What the decision core fills in.
    revision: int = 0
    route: "CompiledRoute | None" = None
    identity: "Identity | None" = None
    action: str = ""
    rule: str = ""
    cors_origin: bytes | None = None  # to be echoed: the origin is allowed
    preflight: bool = False
    grant_id: int | None = None
    trace: list[tuple[str, str, str]] | None = None
    # What became of it.
    target: str = ""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    upstream_seconds: float | None = None
    abort: str | None = None
    recorded: bool = False

    def __init__(self, method: str, path: bytes, query: bytes) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers: list[tuple[bytes, bytes]] = []

    def note(self, step: str, outcome: str, text: str, *values: object) -> None:
        """Leave a line of the trace: `text` is %-formatted only when somebody asked for a trace."""
        if self.trace is not None:
            self.trace.append((step, outcome, text % values if values else text))

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)

    def describe(self) -> dict[str, Any]:
        """The exchange in a few words, for messages and tests."""
        return {"method": self.method, "path": self.path.decode(), "host": self.host}
