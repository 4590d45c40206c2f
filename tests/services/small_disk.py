"""A file system of a few hundred kilobytes, to be filled to its last byte."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MakeDisk = Callable[[int], Path]


@pytest.fixture
def make_small_disk(tmp_path: Path) -> Iterator[MakeDisk]:
    """make_small_disk(size_kib): the directory of a new one. Only root may mount: else the test is skipped."""
    mounted: list[Path] = []

    def make(size_kib: int) -> Path:
        directory = tmp_path / f"disk{len(mounted)}"
        directory.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k,mode=0700", "tmpfs", str(directory)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            reason = f"a small disk can't be mounted here (user {os.geteuid()}): {done.stderr.strip()}"
            pytest.skip(reason)
        mounted.append(directory)
        return directory

    yield make
    for directory in mounted:
        # Lazily: a process that is being ended may hold a file there.
        subprocess.run(["umount", "-l", str(directory)], check=True)
