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

    __slots__ = (
        "abort",
        "action",
        "bytes_in",
        "bytes_out",
        "chunked",
        "client_ip",
        "content_length",
        "encoded_slash",
        "grant_id",
        "headers",
        "host",
        "identity",
        "method",
        "origin",
        "path",
        "peer",
        "presented",
        "query",
        "recorded",
        "request_id",
        "revision",
        "route",
        "rule",
        "scheme",
        "span_id",
        "started",
        "started_at",
        "status",
        "target",
        "trace",
        "trace_id",
        "upstream_seconds",
        "user_agent",
        "websocket",
    )

    def __init__(self, method: str, path: bytes, query: bytes) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.scheme = "http"
        self.host = ""
        self.peer = ""
        self.client_ip = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.presented = Presented()
        self.content_length: int | None = None
        self.chunked = False
        self.encoded_slash = False
        self.websocket = False
        self.origin: bytes | None = None
        self.user_agent = b""
        self.request_id = ""
        self.trace_id = ""
        self.span_id = ""
        self.started = 0.0  # seconds, monotonic
        self.started_at = 0.0  # seconds since the epoch
        # What the decision core fills in.
        self.revision = 0
        self.route: CompiledRoute | None = None
        self.identity: Identity | None = None
        self.action = ""
        self.rule = ""
        self.grant_id: int | None = None
        self.trace: list[tuple[str, str, str]] | None = None
        # What became of it.
        self.target = ""
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.upstream_seconds: float | None = None
        self.abort: str | None = None
        self.recorded = False

    def note(self, step: str, outcome: str, text: str) -> None:
        """Leave a line of the trace; costs nothing unless somebody asked for one."""
        if self.trace is not None:
            self.trace.append((step, outcome, text))

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)

    def describe(self) -> dict[str, Any]:
        """The exchange in a few words, for messages and tests."""
        return {"method": self.method, "path": self.path.decode(), "host": self.host}
