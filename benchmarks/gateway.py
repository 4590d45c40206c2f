"""Set up and start Gatehouse the way a user does: migrate, apply a file, `manage.py gateway`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.servers import Launch, ServerFailed

ROOT = Path(__file__).resolve().parents[1]
SETUP_DEADLINE_SECONDS = 120

# JSON is YAML; quoting is then never in doubt. One caller, one asset, one grant, one route.
CONFIGURATION = """
version: 1
principals:
  - name: bench
    kind: service_account
    api_keys:
      - {{name: load, secret: "{api_key}"}}
assets:
  - {{name: orders, description: Order data}}
grants:
  - {{principal: bench, asset: orders, actions: [read, write], justification: measurement}}
services:
  - name: orders
    targets: [{{url: "http://127.0.0.1:{upstream_port}"}}]
    timeouts: {{connect: 2, response: 60, idle: 60}}
routes:
  - name: orders
    service: orders
    asset: orders
    path: /orders
    access: granted
    authenticators: [api_key]
    max_body_bytes: {max_body_bytes}
"""


@dataclass(frozen=True)
class Installation:
    """A data directory with a database, and the environment that every command there needs."""

    directory: Path
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        data = self.directory / "data"
        own = {
            "GATEWAY_ENV": "development",
            "GATEWAY_DATA_DIR": str(data),
            # Said outright: a `.env` of this checkout must not lead the measurement to somebody's database.
            "GATEWAY_DATABASE_URL": f"sqlite:///{data / 'gatehouse.sqlite3'}",
            "GATEWAY_REDIS_URL": "",
            "GATEWAY_AUTH_MODE": "gateway",
        }
        return {**own, **self.extra}

    @property
    def process_environment(self) -> dict[str, str]:
        """This process's environment without its own GATEWAY_ settings, then ours."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        return {**inherited, **self.environment}

    def manage(self, *arguments: str) -> None:
        """Run one manage.py command to its end."""
        self._run([sys.executable, str(ROOT / "manage.py"), *arguments], f"manage.py {arguments[0]}")

    def write_rows(self, work: str, count: int, prefix: str) -> None:
        """Run benchmarks.rows in a process that has this installation's settings."""
        options = ["--count", str(count), "--prefix", prefix]
        self._run([sys.executable, "-m", "benchmarks.rows", work, *options], f"rows {work}")

    def ask(self, module: str, *arguments: str) -> dict[str, float]:
        """Run a module of ours with this installation's settings; its answer is one line of JSON."""
        answer: dict[str, float] = json.loads(self._run([sys.executable, "-m", module, *arguments], module))
        return answer

    def _run(self, command: list[str], name: str) -> str:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=self.process_environment,
            timeout=SETUP_DEADLINE_SECONDS,
        )
        if answer.returncode != 0:
            raise ServerFailed(f"{name} failed\n{answer.stdout}\n{answer.stderr}")
        return answer.stdout

    def set_up(self, api_key: str, upstream_port: int, max_body_bytes: int = 1_048_576) -> None:
        """Create the tables and apply one route, key and grant. Does nothing where that was done before."""
        configuration = self.directory / "gateway_config.yaml"
        if configuration.exists():
            return
        (self.directory / "data").mkdir(parents=True, exist_ok=True)
        self.manage("migrate", "--verbosity", "0")
        configuration.write_text(
            CONFIGURATION.format(api_key=api_key, upstream_port=upstream_port, max_body_bytes=max_body_bytes)
        )
        self.manage("gateway_config", "apply", str(configuration))

    def serve(self, port: int, role: str = "data", workers: int = 1) -> Launch:
        """The gateway itself; its log holds the access log."""
        options = ["--bind", f"127.0.0.1:{port}", "--role", role, "--workers", str(workers)]
        return Launch(
            command=[sys.executable, str(ROOT / "manage.py"), "gateway", *options],
            environment=self.environment,
            directory=ROOT,
            log=self.directory / f"gateway-{role}.log",
        )
