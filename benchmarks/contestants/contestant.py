"""What a contestant is: a name, what it does during the measurement, and how to start it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import Launch


@dataclass(frozen=True)
class Bout:
    """What a contestant is given: a directory of its own, its port, the upstream's port and the key."""

    directory: Path
    port: int
    upstream_port: int
    api_key: str


@dataclass(frozen=True)
class Contestant:
    """One gateway. `refuses_strangers` is false only for a server that checks no key, as a reference.

    `access_log` names the file in the bout's directory that gets a line for each request; `audit_records`
    counts the records of requests that the stopped gateway left there.
    """

    name: str
    does: str
    launch: Callable[[Bout], Launch]
    version: Callable[[], str]
    refuses_strangers: bool = True
    access_log: str | None = None
    audit_records: Callable[[Path], int] | None = None
