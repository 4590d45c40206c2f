"""`manage.py rotate_key PUBLIC_ID`: replace an API key; the old one lives through the grace period."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.keys import rotate_key
from accounts.models import ApiKey


class Command(BaseCommand):
    help = "Issue a successor of an API key and print its secret once. The old key lives on for a while."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("public_id", metavar="PUBLIC_ID")

    def handle(self, *args: Any, public_id: str, **options: Any) -> None:
        key = ApiKey.objects.select_related("principal").filter(public_id=public_id).first()
        if key is None:
            raise CommandError(f"No API key has the public id {public_id!r}.")
        if key.state != "live":
            raise CommandError(f"This key is {key.state}: create a new one instead.")
        issued = rotate_key(key)
        self.stdout.write(issued.secret)
        self.stderr.write(
            f"Key {issued.key.name} of {key.principal} now has the public id {issued.key.public_id}.\n"
            f"The old key ({public_id}) works until {key.expires_at.isoformat(timespec='seconds')}.\n"
            "The secret is printed on standard output and not stored: keep it now."
        )
