"""An installation of its own for one test: data directory, database, and the processes that ship."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

from tests.services.deadline import wait_until
from tests.services.server_process import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
MANAGE = [sys.executable, str(ROOT / "manage.py")]
CELERY = [sys.executable, "-m", "celery", "-A", "gateway_site"]
# Records one event after another and says which it has recorded: what a gateway has answered.
WRITER = """
import sys, time
import django
django.setup()
from auditlog import recorder
prefix, number = sys.argv[1], 0
while True:
    identity = f"{prefix}-{number}"
    recorder.record("request_completed", {"request_id": identity, "status": 200, "decision": "allow"})
    sys.stdout.write(identity + "\\n")
    sys.stdout.flush()
    number += 1
    if number % 20 == 0:
        time.sleep(0.01)
"""


class Installation:
    """Starts and kills the processes of one audit log on PostgreSQL."""

    def __init__(self, directory: Path, database_url: str, **settings: str) -> None:
        self.directory, self.database_url = directory, database_url
        directory.mkdir(parents=True, exist_ok=True)
        self.spool = directory / "spool"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
            "GATEWAY_ENV": "development",
            "GATEWAY_ENV_FILE": os.devnull,
            "GATEWAY_DATA_DIR": str(directory),
            "GATEWAY_DATABASE_URL": database_url,
            "GATEWAY_AUDIT_SEGMENT_BYTES": str(256 * 1024),
            "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
            "PYTHONPATH": str(ROOT),
        } | settings
        self._running: list[ServerProcess] = []
        self._outputs = 0
        self.manage("migrate")

    def manage(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; it must succeed."""
        done = self.attempt(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*MANAGE, *words], env=self.environment, capture_output=True, text=True, timeout=100
        )

    def start(self, *command: str, name: str) -> ServerProcess:
        self._outputs += 1
        process = ServerProcess(command, self.directory / f"{name}-{self._outputs}.log", self.environment)
        self._running.append(process)
        return process

    def start_writer(self, prefix: str) -> ServerProcess:
        return self.start(sys.executable, "-c", WRITER, prefix, name="writer")

    def start_shipper(self) -> ServerProcess:
        return self.start(*MANAGE, "audit", "ship", name="shipper")

    def start_worker(self) -> ServerProcess:
        return self.start(*CELERY, "worker", "-c", "1", "-l", "warning", name="worker")

    def answered(self) -> list[str]:
        """What the writers have said they recorded; a line that a kill cut off doesn't count."""
        texts = [path.read_text() for path in self.directory.glob("writer-*.log")]
        return [line for text in texts for line in text.split("\n")[:-1]]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(sql.encode()).fetchall()

    def stored(self) -> list[str]:
        found = self.rows("SELECT request_id FROM auditlog_auditrecord WHERE event = 'request_completed'")
        return [identity for (identity,) in found]

    def wait_until_shipped(self, timeout_seconds: float = 60) -> None:
        expected = set(self.answered())
        wait_until(lambda: expected <= set(self.stored()), "all answered requests stored", timeout_seconds)

    def assert_each_once(self) -> None:
        answered, stored = self.answered(), self.stored()
        assert set(answered) - set(stored) == set()
        assert len(stored) == len(set(stored))

    def stop(self) -> None:
        for process in self._running:
            if process.process.poll() is None:
                process.stop(sent=signal.SIGTERM)
