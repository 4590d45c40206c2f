"""Gatehouse with everything on: key, grant, security headers, access log to a file, audit spool."""

from __future__ import annotations

import subprocess
from functools import partial

from benchmarks.contestants.contestant import Bout, Contestant
from benchmarks.gateway import ROOT, Installation
from benchmarks.servers import Launch

EVERYTHING = "key, grant, security headers, request id, JSON access log to a file, audit spool"


def launch(role: str, bout: Bout) -> Launch:
    installation = Installation(bout.directory)
    installation.set_up(bout.api_key, bout.upstream_port)
    return installation.serve(bout.port, role)


def version() -> str:
    """The revision that was measured; `+` when files differ from it."""
    git = ["git", "-C", str(ROOT)]
    revision = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    if revision.returncode != 0:
        return "not a git checkout"
    watched = ["gateway_site", "accounts", "routing", "auditlog"]
    changed = subprocess.run([*git, "status", "--porcelain", *watched], capture_output=True, text=True)
    return revision.stdout.strip() + ("+" if changed.stdout.strip() else "")


DATA_PLANE = Contestant(
    name="gatehouse",
    does=f"--role data --workers 1: {EVERYTHING}",
    launch=partial(launch, "data"),
    version=version,
    access_log="gateway-data.log",
)
BOTH_PLANES = Contestant(
    name="gatehouse all",
    does=f"--role all --workers 1: {EVERYTHING}, and the audit records shipped to the database meanwhile",
    launch=partial(launch, "all"),
    version=version,
    access_log="gateway-all.log",
)
