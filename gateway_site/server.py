"""Run Gatehouse: what is refused at start, then workers and, beside them, the audit shipper."""

import logging
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial

from django.conf import settings
from django.core.checks import ERROR, CheckMessage, run_checks
from django.db import connections

from gateway_site import worker
from gateway_site.bind import Bind, listen_problem
from gateway_site.lifeline import end_with_parent
from gateway_site.supervisor import Supervisor

logger = logging.getLogger("gatehouse.server")

ROLES = ("all", "data", "control")
# A gateway that was just killed may hold its port for a moment.
PORT_RELEASE_SECONDS = 2.0
# What a worker may take beyond the drain time.
END_SECONDS = 15


class StartRefused(Exception):
    """The configuration would be dangerous or can't work; the message says what to do."""


def check_address(bind: Bind) -> None:
    """Raises StartRefused when somebody listens there.

    Workers bind with SO_REUSEPORT: two gateways on one port would both start, and share the requests.
    """
    deadline = time.monotonic() + PORT_RELEASE_SECONDS
    while (problem := listen_problem(bind)) is not None:
        if time.monotonic() > deadline:
            raise StartRefused(f"can't listen on {bind}: {problem}")
        time.sleep(0.1)


def check_start(workers: int, role: str) -> None:
    """Raises StartRefused with every reason not to start."""
    problems = [message.msg + (f" {message.hint}" if message.hint else "") for message in _errors()]
    if role not in ROLES:
        problems.append(f"--role {role!r}: choose one of {', '.join(ROLES)}.")
    if workers > 1 and not settings.GATEWAY_REDIS_URL:
        problems.append(
            f"--workers {workers} needs Redis: without it each worker would count rate limits and hear of "
            "revoked credentials by itself. Set GATEWAY_REDIS_URL=redis://HOST:6379/0, or use --workers 1."
        )
    if workers < 1:
        problems.append("--workers must be at least 1.")
    if problems:
        raise StartRefused("\n".join(problems))


def _errors() -> list[CheckMessage]:
    return [message for message in run_checks() if message.level >= ERROR]


def serve(bind: Bind, workers: int, role: str) -> None:
    """Serve until SIGTERM or SIGINT; requests under way get GATEWAY_DRAIN_SECONDS to end.

    Raises StartRefused when no worker could start.
    """
    _raise_descriptor_limit()
    # The application is imported by each worker: it reads its role from the environment.
    os.environ["GATEWAY_ROLE"] = settings.GATEWAY_ROLE = role
    settings.GATEWAY_BIND = f"{bind.host}:{bind.port}"
    # Connections of the checks at start: a forked worker opens its own.
    connections.close_all()
    logger.info("Gatehouse %s serves on %s", settings.VERSION, bind)
    seconds = settings.GATEWAY_DRAIN_SECONDS + END_SECONDS
    shipper = _start_shipper if role == "all" else None
    started = Supervisor(partial(worker.main, bind), workers, seconds, shipper).run()
    if not started:
        raise StartRefused("no worker could start: the reason is in the log above")


def _raise_descriptor_limit() -> None:
    """A WebSocket takes two descriptors; the usual soft limit of 1024 is for programs that use select()."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _start_shipper() -> "subprocess.Popen[bytes]":
    """One process beside the workers carries audit records from the spool to their sinks."""
    return subprocess.Popen(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "audit", "ship"],
        preexec_fn=partial(_become_background, os.getpid()),
    )


def _become_background(parent_pid: int) -> None:
    end_with_parent(parent_pid, signal.SIGTERM)
    # Whatever it does, requests come first.
    os.nice(10)
    # Ctrl-C reaches the whole process group; the shipper ends when this process tells it to.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
