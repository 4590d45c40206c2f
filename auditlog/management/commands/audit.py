"""`manage.py audit ship|verify|tail|export`: the audit log from a terminal."""

import argparse
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from auditlog import recorder
from auditlog.sinks import open_sink
from auditlog.sinks.sink import SinkMisconfigured


class Command(BaseCommand):
    help = "Ship the audit spool to its sinks, verify, follow or export the audit log."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("ship", help="bring records from the spool to the sinks until stopped")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(argparse.Namespace(**options))

    def _ship(self, options: argparse.Namespace) -> None:
        from auditlog.shipper import run

        if not settings.GATEWAY_AUDIT_SINKS:
            raise CommandError("GATEWAY_AUDIT_SINKS names no sink: records stay in the spool.")
        for name in settings.GATEWAY_AUDIT_SINKS:
            try:
                open_sink(name).close()
            except SinkMisconfigured as error:
                raise CommandError(str(error)) from error
        run(stopped_by_signals())
        recorder.close()


def stopped_by_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
