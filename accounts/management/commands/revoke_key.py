"""`manage.py revoke_key PUBLIC_ID`: end an API key now."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.keys import revoke_key
from accounts.models import ApiKey


class Command(BaseCommand):
    help = "Revoke an API key: every worker refuses it within two seconds."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("public_id", metavar="PUBLIC_ID", help="the middle part of gw_<public id>_…")

    def handle(self, *args: Any, public_id: str, **options: Any) -> None:
        key = ApiKey.objects.select_related("principal").filter(public_id=public_id).first()
        if key is None:
            raise CommandError(f"No API key has the public id {public_id!r}.")
        was = key.state
        revoke_key(key)
        words = "was revoked already" if was == "revoked" else "is revoked"
        self.stdout.write(f"Key {key.name} of {key.principal} ({public_id}) {words}.")
