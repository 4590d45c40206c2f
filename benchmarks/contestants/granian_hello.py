"""Bare granian answering the same document itself: the ceiling of any ASGI gateway on this machine."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from benchmarks.contestants.contestant import Bout, Contestant
from benchmarks.servers import Launch

ROOT = Path(__file__).resolve().parents[2]


def launch(bout: Bout) -> Launch:
    server = ["-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(bout.port)]
    return Launch(
        command=[sys.executable, *server, "--workers", "1", "--log-level", "warning", "benchmarks.hello:app"],
        directory=ROOT,
        log=bout.directory / "granian.log",
    )


def version() -> str:
    return importlib.metadata.version("granian")


CONTESTANT = Contestant(
    name="granian hello",
    does="no gateway at all: an ASGI function that answers the document (the ceiling)",
    launch=launch,
    version=version,
    refuses_strangers=False,
)
