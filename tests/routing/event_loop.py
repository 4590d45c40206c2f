"""Run a coroutine on the event loop that the gateway runs on, and fail on whatever it leaves behind."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T], timeout_seconds: float = 20.0) -> T:
    """The coroutine's result. Raises AssertionError when a task or future ended unseen or is left over."""
    complaints: list[str] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context)))
        async with asyncio.timeout(timeout_seconds):
            result = await coroutine
        # Tasks that were cancelled get their turn to end.
        for _ in range(5):
            await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"tasks left over: {left}"
        return result

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(watched())
    finally:
        gc.collect()
    assert not complaints, "\n".join(complaints)
    return result


async def until(probe: Callable[[], Any], what: str, timeout_seconds: float = 5.0) -> Any:
    """Wait on the event loop until `probe` returns something true. Raises AssertionError, naming `what`."""
    deadline = monotonic() + timeout_seconds
    while not (value := probe()):
        assert monotonic() < deadline, f"not within {timeout_seconds} s: {what}"
        await asyncio.sleep(0.002)
    return value
