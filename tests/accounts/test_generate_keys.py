"""`manage.py generate_keys`, as an installation meets it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

from gateway_site.keys import KEY_NAMES
from tests.end_to_end.control import PROJECT_DIR


def run(data_dir: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """In production, where no key is made by itself."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment |= {"GATEWAY_DATA_DIR": str(data_dir), "GATEWAY_ENV_FILE": os.devnull}
    return subprocess.run(
        [sys.executable, "manage.py", "generate_keys", *arguments],
        cwd=PROJECT_DIR,
        env=environment | {"GATEWAY_ENV": "production"},
        capture_output=True,
        text=True,
        check=True,
    )


def test_missing_keys_are_written_for_the_owner_only_and_kept_the_second_time(tmp_path: Path) -> None:
    first = run(tmp_path)
    files = [tmp_path / "keys" / name for name in KEY_NAMES]
    written = [file.read_text() for file in files]
    assert len(set(written)) == 3
    assert all(len(key) >= 43 for key in written)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert first.stdout == ""
    assert all(f"{file}: written" in first.stderr for file in files)
    second = run(tmp_path)
    assert [file.read_text() for file in files] == written
    assert all(f"{file}: is there already" in second.stderr for file in files)
    assert not any(key in first.stderr + second.stderr for key in written)


def test_print_env_gives_the_variables_for_another_host(tmp_path: Path) -> None:
    lines = run(tmp_path, "--print-env").stdout.splitlines()
    key_dir = tmp_path / "keys"
    assert lines == [f"GATEWAY_{name.upper()}={(key_dir / name).read_text()}" for name in KEY_NAMES]
