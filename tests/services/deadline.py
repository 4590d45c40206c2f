"""Wait for a condition by polling it with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(probe: Callable[[], Value], what: str, timeout_seconds: float = 10.0) -> Value:
    """Call `probe` until it returns something true, and return that. Raises AssertionError, naming `what`."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds} s: {what} (last seen: {value!r})")
        time.sleep(0.01)
