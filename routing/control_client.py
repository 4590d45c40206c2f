"""Tell who the client of a control plane's request is, by the same trusted proxies as on the data plane."""

from django.http import HttpRequest

from routing.pipeline.client_address import Network, client_address
from routing.snapshot import Rows, compile_snapshot
from routing.snapshot_rows import read_settings


def trusted_proxies() -> tuple[Network, ...]:
    """Those of now, by the snapshot's own reading of the row, faults included."""
    return compile_snapshot(Rows(settings=read_settings())).trusted_proxies


def client_of(request: HttpRequest) -> str:
    """The client's address in its one form; empty where the server names no peer (a Unix socket)."""
    known: str | None = getattr(request, "client_address", None)
    if known is not None:
        return known
    # Header lines are joined by commas, and names with _ are dropped, by Django's request.
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").encode("latin-1", "replace")
    lines = (forwarded,) if forwarded else ()
    client = client_address(request.META.get("REMOTE_ADDR", ""), lines, trusted_proxies() if lines else ())
    request.client_address = client  # type: ignore[attr-defined]
    return client
