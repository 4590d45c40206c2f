"""`manage.py demo`: what `make run` starts. See gateway_site/demo."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway_site.bind import InvalidBind, parse_bind
from gateway_site.demo.children import ChildEnded, Children, Stopped
from gateway_site.demo.demonstration import AddressesTaken, Demonstration, NotReady

# Longer than a drain, which ends by itself.
GRACE_BEYOND_DRAIN_SECONDS = 5


class Command(BaseCommand):
    help = "Run the gateway with its example services in the foreground, for a first tour."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bind", default=settings.GATEWAY_BIND, metavar="HOST:PORT")
        parser.add_argument(
            "--configuration",
            type=Path,
            default=settings.BASE_DIR / "examples" / "gateway_config.yaml",
            metavar="FILE",
            help="what a new database is filled with",
        )
        parser.add_argument(
            "--services",
            default="-m examples",
            metavar="ARGUMENTS",
            help="what Python is given to start the services (default: %(default)s)",
        )

    def handle(self, *args: Any, bind: str, configuration: Path, services: str, **options: Any) -> None:
        if not settings.DEVELOPMENT:
            raise CommandError("The demo runs with GATEWAY_ENV=development only (make run sets it).")
        try:
            gateway = parse_bind(bind)
        except InvalidBind as error:
            raise CommandError(str(error)) from error
        children = Children(settings.GATEWAY_DRAIN_SECONDS + GRACE_BEYOND_DRAIN_SECONDS)
        children.obey_signals()
        demonstration = Demonstration(gateway, configuration, settings.BASE_DIR, children, services.split())
        try:
            demonstration.check_addresses()
            demonstration.run(self._say)
        except Stopped:
            self._say("Stopped.")
        except (AddressesTaken, ChildEnded, NotReady) as error:
            raise CommandError(str(error)) from error

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        sys.stdout.flush()
