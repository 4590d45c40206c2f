"""Change a gateway's database from outside the gateway, as another process would."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROJECT_DIR = Path(__file__).resolve().parent.parent.parent


class Control:
    """A Django process in the gateway's environment; it starts at the first use (about two seconds)."""

    def __init__(self, environment: Mapping[str, str], log_path: Path) -> None:
        self._environment = dict(environment)
        self._log_path = log_path
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def execute(self, code: str, **values: Any) -> Any:
        """Run Python there and return its last expression. `values` (JSON) are variables of the code."""
        assignments = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        with self._lock:
            process = self._started()
            answer = self._ask(process, assignments + code)
        if "error" in answer:
            raise AssertionError(f"in the gateway's environment:\n{answer['error']}")
        return answer["result"]

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            with self._log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.end_to_end.control_loop"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=PROJECT_DIR,
                    env=self._environment,
                    start_new_session=True,
                )
            self._read(self._process)
        return self._process

    def _ask(self, process: subprocess.Popen[str], code: str) -> dict[str, Any]:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"code": code}) + "\n")
        process.stdin.flush()
        return self._read(process)

    def _read(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"the control process ended:\n{self._log_path.read_text(errors='replace')}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
        self._process = None
