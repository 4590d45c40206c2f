"""`manage.py runserver` serves WebSockets, too; no other command pays for what that needs."""

import os
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.gateway_process import clean_environment

ROOT = Path(__file__).resolve().parents[2]


def manage(data_dir: Path, *words: str) -> str:
    """What the command prints, and which modules it has loaded."""
    command = [sys.executable, "-X", "importtime", "manage.py", *words]
    environment = clean_environment(data_dir) | {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def test_runserver_is_daphnes(tmp_path: Path) -> None:
    shown = manage(tmp_path, "runserver", "--help")
    assert "--http_timeout" in shown
    assert "daphne.server" in shown


def test_other_commands_load_no_second_server(tmp_path: Path) -> None:
    assert "twisted" not in manage(tmp_path, "check")
