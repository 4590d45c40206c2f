"""Memory of large messages is the system's again once they are gone."""

import subprocess
import sys

import pytest

# Frees a large buffer once, then holds a small one behind each of a dozen large ones and frees these.
MEASURE = """
import ctypes, resource, sys
from gateway_site.large_buffers import give_back_large_buffers

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "told" and not give_back_large_buffers():
    sys.exit("this C library can't be told")
size = 4 << 20
library.free(library.malloc(2 * size))
before, large = resident(), []
for _ in range(12):
    large.append(library.malloc(size))
    ctypes.memset(large[-1], 1, size)
    library.malloc(5000)
for buffer in large:
    library.free(buffer)
print(resident() - before)
"""


@pytest.mark.parametrize(
    ("told", "least", "most"), [("told", -(1 << 30), 1 << 20), ("untold", 32 << 20, 1 << 30)]
)
def test_large_buffers_are_given_back_when_the_allocator_was_told(told: str, least: int, most: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, told], capture_output=True, text=True, timeout=30, check=True
    )
    assert least <= int(done.stdout) <= most
