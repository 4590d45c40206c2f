"""`manage.py generate_keys`: write the installation's three secret keys where they are missing."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from gateway_site.keys import KEY_NAMES, create_key, environment_name, load_key


class Command(BaseCommand):
    help = "Write the installation's secret keys to files, where they are missing. Existing keys stay."
    # It runs before there is a database, and when the checks complain of the missing keys.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--print-env",
            action="store_true",
            help="print all keys as environment variables (they are secret) for other hosts",
        )

    def handle(self, *args: Any, print_env: bool, **options: Any) -> None:
        directory = settings.GATEWAY_KEY_DIR
        for name in KEY_NAMES:
            existed = (directory / name).exists()
            create_key(name, directory)
            words = "is there already" if existed else "written"
            self.stderr.write(f"{directory / name}: {words}")
        if print_env:
            for name in KEY_NAMES:
                self.stdout.write(f"{environment_name(name)}={load_key(name, directory, may_create=False)}")
