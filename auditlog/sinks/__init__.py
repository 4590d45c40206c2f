"""Destinations of the audit log, one module each. A new sink is one new file with `open_sink()`."""

import importlib
import re

from auditlog.sinks.sink import Sink, SinkMisconfigured


def open_sink(name: str) -> Sink:
    """The sink of module `auditlog.sinks.<name>`. Raises SinkMisconfigured."""
    if not re.fullmatch(r"[a-z_]+", name) or name == "sink":
        raise SinkMisconfigured(f"{name!r} is no audit sink")
    try:
        module = importlib.import_module(f"auditlog.sinks.{name}")
    except ModuleNotFoundError as error:
        raise SinkMisconfigured(f"audit sink {name!r} is not available: {error}") from error
    return module.open_sink()
