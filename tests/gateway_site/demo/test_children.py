"""The demo's processes end together, whoever ends first."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_site.demo.children import ChildEnded, Children, Stopped
from tests.services.deadline import wait_until

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "pathlib.Path(sys.argv[1]).touch(); time.sleep(60)",
]


@pytest.fixture
def children() -> Iterator[Children]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    made = Children(grace_seconds=1)
    yield made
    made.stop()
    for number, handler in kept.items():
        signal.signal(number, handler)


def running(children: Children) -> list[str]:
    return [child.name for child in children._running()]


def test_pause_passes_while_all_is_well(children: Children, tmp_path: Path) -> None:
    children.start("sleeper", SLEEPER, tmp_path, os.environ)
    children.pause(0.01)
    assert running(children) == ["sleeper"]


def test_child_that_ends_is_named_with_its_exit_code(children: Children, tmp_path: Path) -> None:
    children.start("sleeper", SLEEPER, tmp_path, os.environ)
    children.start("quitter", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path, os.environ)
    with pytest.raises(ChildEnded, match=r"quitter ended by itself \(exit code 3\)"):
        children.watch()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_signal_ends_the_watch_and_stop_ends_the_children(
    children: Children, tmp_path: Path, number: signal.Signals
) -> None:
    children.obey_signals()
    children.start("sleeper", SLEEPER, tmp_path, os.environ)
    os.kill(os.getpid(), number)
    with pytest.raises(Stopped):
        children.watch()
    children.stop()
    assert running(children) == []


def test_child_that_ignores_the_request_is_killed_after_the_grace(children: Children, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    children.start("stubborn", [*STUBBORN, str(ready)], tmp_path, os.environ)
    wait_until(ready.exists, "the child ignores SIGTERM")
    children.stop()
    assert running(children) == []
