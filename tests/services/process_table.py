"""Look at the processes of this machine, as /proc shows them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    pid: int
    parent: int
    session: int
    command: str


def live_processes() -> list[Process]:
    """Every process that is not a zombie; those that end meanwhile are left out."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            # The name in parentheses may hold spaces and parentheses itself.
            state, parent, _, session, *_ = (directory / "stat").read_text().rpartition(")")[2].split()
            command = (
                (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            )
        except OSError:
            continue
        if state != "Z":
            found.append(Process(int(directory.name), int(parent), int(session), command))
    return found


def with_variable(name: str, value: str) -> list[Process]:
    """The processes that were started with this environment variable."""
    wanted = f"{name}={value}\0".encode()
    found = []
    for process in live_processes():
        try:
            if wanted in Path(f"/proc/{process.pid}/environ").read_bytes():
                found.append(process)
        except OSError:
            continue
    return found


def family(pid: int) -> list[Process]:
    """The process and all that descend from it."""
    processes = live_processes()
    members = [process for process in processes if process.pid == pid]
    for member in members:
        members += [process for process in processes if process.parent == member.pid]
    return members


def memory_bytes(processes: Iterable[Process]) -> int:
    """Resident memory of these together."""
    return sum(int(Path(f"/proc/{p.pid}/statm").read_text().split()[1]) * 4096 for p in processes)


def open_files(processes: Iterable[Process]) -> int:
    """Open file descriptors of these together."""
    return sum(len(list(Path(f"/proc/{p.pid}/fd").iterdir())) for p in processes)
