"""Run Gatehouse under granian: bind, workers, limits of the HTTP server, and what is refused at start."""

import logging
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from typing import Any

from django.conf import settings
from django.core.checks import ERROR, CheckMessage, run_checks

from gateway_site import draining
from gateway_site.bind import Bind, listen_problem
from gateway_site.lifeline import end_with_parent

logger = logging.getLogger("gatehouse.server")

ROLES = ("all", "data", "control")
HEADER_READ_TIMEOUT_MS = 30_000
# A gateway that was just killed may hold its port for a moment.
PORT_RELEASE_SECONDS = 2.0
# Connections that one worker serves at a time.
CONNECTIONS = 16_384


class StartRefused(Exception):
    """The configuration would be dangerous or can't work; the message says what to do."""


def check_address(bind: Bind) -> None:
    """Raises StartRefused when somebody listens there.

    granian binds with SO_REUSEPORT: two gateways on one port would both start, and share the requests.
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
    """Serve until SIGTERM or SIGINT; requests under way get GATEWAY_DRAIN_SECONDS to end."""
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server.mp import MPServer

    class DrainingServer(MPServer):
        """Granian, with the end announced to its workers before it stops them."""

        def startup(self, *arguments: Any) -> None:
            draining.ignore_announcements()
            super().startup(*arguments)

        def shutdown(self, exit_code: int = 0) -> None:
            pids = [worker.inner.pid for worker in self.wrks if worker.is_alive()]
            draining.announce(pids, settings.GATEWAY_DRAIN_SECONDS)
            super().shutdown(exit_code)

    _raise_descriptor_limit()
    # The application is imported by each worker: it reads its role from the environment.
    os.environ["GATEWAY_ROLE"] = settings.GATEWAY_ROLE = role
    settings.GATEWAY_BIND = f"{bind.host}:{bind.port}"
    shipper = _start_shipper() if role == "all" else None
    server = DrainingServer(
        "gateway_site.asgi:application",
        address=bind.host,
        port=bind.port,
        interface=Interfaces.ASGI,
        workers=workers,
        loop=Loops.uvloop,
        # One protocol to keep clean: a front server that speaks HTTP/2 to clients speaks 1.1 to us.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_READ_TIMEOUT_MS),
        backlog=2048,
        backpressure=CONNECTIONS,
        log_dictconfig=_granian_logging(),
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
        workers_kill_timeout=settings.GATEWAY_DRAIN_SECONDS + 5,
    )
    logger.info("Gatehouse %s serves on %s", settings.VERSION, bind)
    try:
        server.serve(target_loader=partial(load_application, os.getpid()))
    finally:
        _stop_shipper(shipper)


def load_application(parent_pid: int, target: str) -> Any:
    """What each worker runs first: it must not outlive the process that leads it."""
    end_with_parent(parent_pid, signal.SIGKILL)
    from gateway_site.asgi import application

    return application


def _raise_descriptor_limit() -> None:
    """A WebSocket takes two descriptors; the usual soft limit of 1024 is for programs that use select()."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _start_shipper() -> "subprocess.Popen[bytes] | None":
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


def _stop_shipper(shipper: "subprocess.Popen[bytes] | None") -> None:
    if shipper is None:
        return
    shipper.terminate()
    try:
        shipper.wait(15)
    except subprocess.TimeoutExpired:
        logger.warning("the audit shipper did not stop in time: killed (its records stay in the spool)")
        shipper.kill()
        shipper.wait()


def _granian_logging() -> dict[str, Any]:
    """Granian's own lines go through the gateway's handler; a transfer we broke off is no error of its."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"broken_transfers": {"()": "gateway_site.server.BrokenTransferFilter"}},
        "loggers": {
            "_granian": {"level": "WARNING", "propagate": True, "handlers": []},
            # A logger's filters see its own records only: this is the one that reports exceptions.
            "_granian.utils": {"filters": ["broken_transfers"]},
        },
    }


class BrokenTransferFilter(logging.Filter):
    """Drop granian's traceback for a transfer that was broken off on purpose (it is in the audit)."""

    def filter(self, record: logging.LogRecord) -> bool:
        # The traceback is part of the text; its last line names the exception.
        name = record.getMessage().rstrip().rpartition("\n")[2].partition(":")[0]
        return name.rpartition(".")[2] not in ("TransferBroken", "CancelledError")
