"""Have the C library give large buffers back to the system when they are freed.

Its allocator takes a size that was freed once for one that is asked for again and again, and keeps
buffers of that size, up to 32 MiB each, below whatever small ones were made after them: one message of
some megabytes on each of many connections would stay resident for as long as the process lives.
"""

import ctypes

# mallopt(3): larger ones are mapped one by one, and setting it ends the guessing.
_M_MMAP_THRESHOLD = -3
THRESHOLD_BYTES = 1 << 20


def give_back_large_buffers() -> bool:
    """Whether this C library can be told so: that of glibc can, that of musl has nothing to tell."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, THRESHOLD_BYTES))
