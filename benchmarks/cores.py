"""Tell who used the two cores: ours, or other programs and the hypervisor. Measures, and waits for quiet."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass

import psutil

from benchmarks.servers import GATEWAY_CORE, LOAD_CORE

QUIET_WINDOW_SECONDS = 0.3
QUIET_IDLE_SHARE = 0.9


@dataclass(frozen=True)
class CoreReading:
    """Idle seconds of each core since the machine started, at one moment."""

    moment: float
    idle_seconds: tuple[float, ...]

    @classmethod
    def now(cls) -> CoreReading:
        cores = psutil.cpu_times(percpu=True)
        return cls(time.monotonic(), tuple(core.idle + core.iowait for core in cores))

    def busy_since(self, earlier: CoreReading, core: int) -> float:
        """The share of the time that the core had something to do."""
        elapsed = self.moment - earlier.moment
        idle = self.idle_seconds[core] - earlier.idle_seconds[core]
        return min(1.0, max(0.0, 1 - idle / elapsed))

    def taken_since(self, earlier: CoreReading, core: int, own_seconds: float) -> float:
        """The share of the core's time that neither idled nor went to our own processes."""
        return max(0.0, self.busy_since(earlier, core) - own_seconds / (self.moment - earlier.moment))


def children_seconds() -> float:
    """Processor time of the children that have ended and been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def wait_for_quiet(deadline_seconds: float) -> bool:
    """Wait until both cores idle; False when they didn't before the deadline."""
    ends = time.monotonic() + deadline_seconds
    while time.monotonic() < ends:
        before = CoreReading.now()
        time.sleep(QUIET_WINDOW_SECONDS)
        after = CoreReading.now()
        busiest = max(after.busy_since(before, core) for core in (GATEWAY_CORE, LOAD_CORE))
        if busiest <= 1 - QUIET_IDLE_SHARE:
            return True
    return False
