"""The reference home-made gateway: FastAPI and httpx under one uvicorn worker."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from benchmarks.contestants.contestant import Bout, Contestant
from benchmarks.servers import Launch

ROOT = Path(__file__).resolve().parents[2]


def launch(bout: Bout) -> Launch:
    server = ["-m", "uvicorn", "benchmarks.reference_gateway:app", "--host", "127.0.0.1"]
    speed = ["--workers", "1", "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    return Launch(
        command=[sys.executable, *server, "--port", str(bout.port), *speed, "--log-level", "warning"],
        environment={
            "REFERENCE_UPSTREAM": f"http://127.0.0.1:{bout.upstream_port}",
            "REFERENCE_API_KEY": bout.api_key,
        },
        directory=ROOT,
        log=bout.directory / "fastapi.log",
    )


def version() -> str:
    packages = ("fastapi", "httpx", "uvicorn")
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


CONTESTANT = Contestant(
    name="fastapi+httpx",
    does="reference_gateway.py: key, in-memory limit, request id, JSON log, streamed; 1 worker, uvloop",
    launch=launch,
    version=version,
    access_log="fastapi.log",
)
