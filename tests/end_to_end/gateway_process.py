"""One real `manage.py gateway` with a data directory, a database and a configuration of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.end_to_end.control import PROJECT_DIR, Control
from tests.end_to_end.raw_client import RawClient, RawResponse, exchange
from tests.services.deadline import wait_until
from tests.services.ports import free_port
from tests.services.process_table import Process, family
from tests.services.server_process import ServerProcess

START_SECONDS = 60.0
COMMAND_SECONDS = 60.0


def clean_environment(data_dir: Path, overrides: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a gateway in development, free of whatever this process was given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment |= {
        "GATEWAY_ENV": "development",
        "GATEWAY_ENV_FILE": os.devnull,
        "GATEWAY_DATA_DIR": str(data_dir),
        "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
        "PYTHONUNBUFFERED": "1",
    }
    return environment | dict(overrides or {})


class GatewayProcess:
    """Starts at construction and answers /healthz when it is there.

    `template` is a migrated SQLite file to copy; without one (another database is in `environment`)
    `migrate` runs first. `configuration` is what a gateway_config file holds.
    """

    def __init__(
        self,
        directory: Path,
        configuration: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        template: Path | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.data_dir = directory / "data"
        self.data_dir.mkdir(mode=0o750)
        self.log_path = directory / "gateway.log"
        self.environment = clean_environment(self.data_dir, environment)
        self.arguments = list(arguments)
        self.control = Control(self.environment, directory / "control.log")
        self._configuration_path = directory / "gateway_config.yaml"
        self.port = 0
        try:
            self._prepare(template, configuration)
            self.start()
        except BaseException:
            self.control.stop()
            raise

    def _prepare(self, template: Path | None, configuration: Mapping[str, Any] | None) -> None:
        if template is not None:
            shutil.copy(template, self.data_dir / "gatehouse.sqlite3")
        else:
            self.control.execute("from django.core.management import call_command\ncall_command('migrate')")
        if configuration is not None:
            self.apply(configuration)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.server.pid

    def servers(self) -> list[Process]:
        """The gateway's process and its workers, without the audit shipper."""
        return [process for process in family(self.pid) if " audit ship" not in process.command]

    # --- life ---------------------------------------------------------------------------------

    def start(self, port: int | None = None) -> None:
        """Start the server (again) and wait until it answers."""
        for attempt in range(3):
            self.port = port or free_port()
            command = [sys.executable, str(PROJECT_DIR / "manage.py"), "gateway"]
            command += ["--bind", f"127.0.0.1:{self.port}", *self.arguments]
            self.server = ServerProcess(command, self.log_path, self.environment)
            try:
                wait_until(self._is_healthy, "the gateway answers /healthz", START_SECONDS)
                return
            except AssertionError:
                self.server.kill()
                # Somebody else took the port between its choice and its use.
                if "in use" not in self.log() or attempt == 2:
                    raise

    def _is_healthy(self) -> bool:
        if self.server.process.poll() is not None:
            raise AssertionError(f"the gateway ended with {self.server.process.returncode}:\n{self.log()}")
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False, timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def send_signal(self, number: signal.Signals) -> None:
        """To the parent process alone, as a supervisor does."""
        os.kill(self.pid, number)

    def stop(self, may_log_tracebacks: bool = False) -> None:
        """SIGTERM; then the exit code has to be 0 and the log free of tracebacks."""
        try:
            code = self.server.stop(timeout_seconds=45)
            assert code == 0, f"the gateway ended with {code}:\n{self.log()[-4000:]}"
            if not may_log_tracebacks:
                assert "Traceback" not in self.log(), self.log()[-8000:]
        finally:
            self.release()

    def kill(self) -> None:
        """SIGKILL to the parent and its workers."""
        self.server.kill()

    def release(self) -> None:
        """End whatever still runs, asserting nothing."""
        self.server.kill()
        self.control.stop()

    # --- configuration and commands -----------------------------------------------------------

    def apply(self, configuration: Mapping[str, Any]) -> None:
        """`gateway_config apply`, in the control process: the gateway hears of it as of any other commit."""
        self._configuration_path.write_text(yaml.safe_dump(dict(configuration), sort_keys=False))
        self.control.execute(
            "from django.core.management import call_command\n"
            "call_command('gateway_config', 'apply', configuration_path)",
            configuration_path=str(self._configuration_path),
        )

    def execute(self, code: str, **values: Any) -> Any:
        """Run Python in the gateway's environment and wait until the gateway serves what it changed."""
        result = self.control.execute(code, **values)
        self.wait_until_current()
        return result

    def wait_until_current(self, timeout_seconds: float = 10.0) -> None:
        """Wait until every worker, those still starting too, serves the newest committed revision."""
        workers = 1
        if "--workers" in self.arguments:
            workers = int(self.arguments[self.arguments.index("--workers") + 1])
        wait_until(
            lambda: self.control.execute(_ALL_WORKERS_CURRENT, workers=workers),
            "all workers serve the revision",
            timeout_seconds,
        )

    def command(self, *arguments: str, may_fail: bool = False) -> "subprocess.CompletedProcess[str]":
        """Run `manage.py …` in the gateway's environment, in a process of its own."""
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            env=self.environment,
            cwd=PROJECT_DIR,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            raise AssertionError(f"{arguments} didn't end:\n{output}\n{errors}") from None
        assert may_fail or process.returncode == 0, f"{arguments} ended with {process.returncode}:\n{errors}"
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def issue_key(self, principal: str, name: str = "test", **fields: Any) -> str:
        """Issue an API key (fields of ApiKey in `fields`) and return its secret once the gateway knows it."""
        secret: str = self.execute(_ISSUE_KEY, principal=principal, name=name, fields=fields)
        return secret

    # --- requests -----------------------------------------------------------------------------

    def connect(self, timeout_seconds: float = 10.0, receive_buffer_bytes: int | None = None) -> RawClient:
        return RawClient(self.port, timeout_seconds, receive_buffer_bytes)

    def exchange(self, data: bytes, timeout_seconds: float = 10.0) -> RawResponse:
        return exchange(self.port, data, timeout_seconds)

    def request(self, method: str, target: str, **options: Any) -> RawResponse:
        """One request on a connection of its own; `options` as for RawClient.request."""
        with self.connect() as client:
            return client.request(method, target, **options)

    # --- traces -------------------------------------------------------------------------------

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_records(self, **fields: Any) -> list[dict[str, Any]]:
        """The JSON lines of the log that have these values."""
        records = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [record for record in records if all(record.get(name) == fields[name] for name in fields)]

    def wait_for_log(self, timeout_seconds: float = 5.0, **fields: Any) -> dict[str, Any]:
        """The first log record with these values, waiting for it."""
        found = wait_until(lambda: self.log_records(**fields), f"a log record with {fields}", timeout_seconds)
        return found[0]

    def audit_records(self, **fields: Any) -> list[dict[str, Any]]:
        """The rows of AuditRecord with these values."""
        rows: list[dict[str, Any]] = self.control.execute(_AUDIT_ROWS, fields=fields)
        return rows

    def wait_for_audit(self, timeout_seconds: float = 15.0, **fields: Any) -> dict[str, Any]:
        """The first audit row with these values, waiting until it has come from the spool."""
        found = wait_until(
            lambda: self.audit_records(**fields), f"an audit record with {fields}", timeout_seconds
        )
        return found[0]


_ALL_WORKERS_CURRENT = """
from datetime import timedelta
from django.utils import timezone
from accounts.revisions import current_revision
from routing.models import Worker
live = Worker.objects.filter(seen_at__gt=timezone.now() - timedelta(seconds=10))
served = list(live.values_list("revision", flat=True))
len(served) >= workers and min(served) >= current_revision()
"""

_ISSUE_KEY = """
from accounts.keys import issue_key
from accounts.models import Principal
issue_key(Principal.objects.get(name=principal), name, **fields).secret
"""

_AUDIT_ROWS = """
from auditlog.models import AuditRecord
list(AuditRecord.objects.filter(**fields).order_by("pk").values())
"""
