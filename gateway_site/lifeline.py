"""Tie a child process to its parent, so that a killed parent leaves no orphans. Linux only; a no-op elsewhere.

An orphaned worker would hold the port and serve on under a configuration that nobody steers.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent_pid: int, number: signal.Signals) -> None:
    """Have the kernel send `number` to this process when its parent ends, however it ends."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent_pid:
        # It ended before it could be asked for.
        os.kill(os.getpid(), number)
