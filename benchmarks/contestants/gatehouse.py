"""Gatehouse with everything on: key, grant, security headers, access log to a file, audit spool."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

from auditlog.block import records_in
from auditlog.segment import read_frames
from auditlog.spool import segment_paths
from benchmarks.contestants.contestant import Bout, Contestant
from benchmarks.gateway import ROOT, Installation
from benchmarks.servers import Launch, ServerFailed

EVERYTHING = "key, grant, security headers, request id, JSON access log to a file, audit spool"


def launch(role: str, bout: Bout) -> Launch:
    installation = Installation(bout.directory)
    installation.set_up(bout.api_key, bout.upstream_port)
    shutil.rmtree(_spool(bout.directory), ignore_errors=True)
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


def audit_records(directory: Path) -> int:
    """Whole records of proxied requests in the spool; nothing else reads it with `--role data`."""
    return sum(_records_of(segment) for segment in segment_paths(_spool(directory)))


def _records_of(segment: Path) -> int:
    descriptor = os.open(segment, os.O_RDONLY)
    try:
        read = read_frames(descriptor, 0, limit=segment.stat().st_size)
    finally:
        os.close(descriptor)
    if read.torn:
        raise ServerFailed("a segment of the audit spool is damaged")
    return sum(records_in(frame.body) for frame in read.frames if b"/orders/7" in frame.body)


def _spool(directory: Path) -> Path:
    return directory / "data" / "spool"


DATA_PLANE = Contestant(
    name="gatehouse",
    does=f"--role data --workers 1: {EVERYTHING}",
    launch=partial(launch, "data"),
    version=version,
    access_log="gateway-data.log",
    audit_records=audit_records,
)
BOTH_PLANES = Contestant(
    name="gatehouse all",
    does=f"--role all --workers 1: {EVERYTHING}, and the audit records shipped to the database meanwhile",
    launch=partial(launch, "all"),
    version=version,
    access_log="gateway-all.log",
)
