"""`manage.py create_key PRINCIPAL NAME`: make an API key and print its secret, once."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.durations import parse_duration
from accounts.keys import issue_key
from accounts.models import Principal


class Command(BaseCommand):
    help = "Make an API key for a principal. Its secret is printed once and stored nowhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("principal", metavar="PRINCIPAL")
        parser.add_argument("name", metavar="NAME", help="what the key is called, such as laptop")
        parser.add_argument("--expires-in", metavar="90d", help="a whole number and m, h, d or w")
        parser.add_argument(
            "--scope",
            action="append",
            default=[],
            metavar="RESOURCE:ACTION",
            help="what the key is limited to; may be repeated",
        )
        parser.add_argument(
            "--allow-from",
            action="append",
            default=[],
            metavar="CIDR",
            help="a network the key works from; may be repeated",
        )
        parser.add_argument("--quiet", action="store_true", help="print the secret and nothing else")

    def handle(self, *args: Any, principal: str, name: str, **options: Any) -> None:
        holder = Principal.objects.filter(name=principal).first()
        if holder is None:
            raise CommandError(f"No principal is named {principal!r}.")
        fields = {"scopes": options["scope"], "allowed_cidrs": options["allow_from"]}
        try:
            if options["expires_in"]:
                fields["expires_at"] = timezone.now() + parse_duration(options["expires_in"])
            issued = issue_key(holder, name, **fields)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        except (ValueError, OverflowError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(issued.secret)
        if not options["quiet"]:
            key = issued.key
            expiry = key.expires_at.isoformat(timespec="seconds") if key.expires_at else "never"
            self.stderr.write(
                f"Key {key.name} of {holder.name}, public id {key.public_id}, expires: {expiry}.\n"
                "The line above is the secret. It is not stored: keep it now."
            )
