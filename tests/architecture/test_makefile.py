"""The Makefile lists itself, and refuses an interpreter that is too old before it does anything."""

import os
import subprocess
from pathlib import Path

from tests.architecture.sources import PROJECT_DIR


def run_make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    # make hands its flags down to a make that it runs: this one is nobody's child.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    return subprocess.run(
        ["make", *arguments], cwd=PROJECT_DIR, env=environment, capture_output=True, text=True
    )


def test_make_alone_lists_the_targets() -> None:
    listed = run_make().stdout
    assert [
        name for name in ("run", "test", "lint", "bench", "soak", "clean") if f"make {name} " not in listed
    ] == []


def test_old_python_is_refused_by_name_and_leaves_nothing(tmp_path: Path) -> None:
    old = tmp_path / "python3.10"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.13" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = run_make("run", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert f"Gatehouse needs Python 3.11 or newer; {old} is Python 3.10.13." in done.stderr
    assert not (tmp_path / "venv").exists()


def test_missing_python_is_said(tmp_path: Path) -> None:
    done = run_make("run", "PYTHON=", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "none was found" in done.stderr
