"""Take from root the right to pass over file permissions, for what has to fail as it would for anybody.

Capabilities belong to threads: what is done here ends with the block or the thread.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")
# CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (capabilities(7)).
_OVERRIDE, _READ_SEARCH = 1, 2
_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP = 24
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


@contextmanager
def without_root_rights() -> Iterator[None]:
    """In this thread, within the block, permissions of files hold for root too."""
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    _call(_libc.capget, ctypes.byref(header), sets)
    before = sets[0].effective
    sets[0].effective = before & ~(1 << _OVERRIDE | 1 << _READ_SEARCH)
    _call(_libc.capset, ctypes.byref(header), sets)
    try:
        yield
    finally:
        sets[0].effective = before
        _call(_libc.capset, ctypes.byref(header), sets)


def start_without_root_rights(start: Callable[[], Result]) -> Result:
    """Call `start` so that the programs it starts, and theirs, heed the permissions of files."""
    results: list[Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            if os.geteuid() == 0:
                for capability in (_OVERRIDE, _READ_SEARCH):
                    # A program that root starts gets what the bounding set of its thread leaves.
                    _call(_libc.prctl, _PR_CAPBSET_DROP, capability, 0, 0, 0)
            results.append(start())
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _call(function: Callable[..., int], *arguments: object) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
