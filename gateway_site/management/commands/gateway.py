"""`manage.py gateway`: run the gateway."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway_site import server
from gateway_site.bind import InvalidBind, parse_bind


class Command(BaseCommand):
    help = "Run the gateway: proxy, admin and API in one process, or one of the two planes."
    requires_system_checks: list[str] = []  # server.check_start runs them and explains

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--bind", default=settings.GATEWAY_BIND, metavar="HOST:PORT", help="default: %(default)s"
        )
        parser.add_argument(
            "--workers",
            type=int,
            default=1,
            help="processes that serve requests; more than one needs GATEWAY_REDIS_URL (default: 1)",
        )
        parser.add_argument(
            "--role",
            default=settings.GATEWAY_ROLE,
            help="all: both planes; data: proxy only; control: admin and API only (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            bind = parse_bind(options["bind"])
            server.check_start(options["workers"], options["role"])
            server.check_address(bind)
        except (InvalidBind, server.StartRefused) as refused:
            raise CommandError(str(refused)) from refused
        try:
            server.serve(bind, options["workers"], options["role"])
        except server.StartRefused as refused:
            raise CommandError(str(refused)) from refused
