"""`manage.py unlock_login USERNAME|ADDRESS|--all`: let somebody sign in again who is locked out."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from accounts.models import Principal
from gateway_site.logins.attempts import Attempt, counted_address, lockouts, unlock
from gateway_site.logins.events import record_unlock
from gateway_site.logins.names import claimed_name, name_key
from routing.pipeline.client_address import parse_address


class Command(BaseCommand):
    help = "Forget the failed sign-ins of a name, or of an address, and so end their lockout."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "subject",
            nargs="?",
            metavar="USERNAME|ADDRESS",
            help="a name as it is typed at the sign-in, or a client's address (IPv6: its whole /64)",
        )
        parser.add_argument("--all", action="store_true", dest="everybody", help="every name and address")

    @transaction.atomic
    def handle(self, *args: Any, subject: str | None, everybody: bool, **options: Any) -> None:
        if everybody == (subject is not None):
            raise CommandError("Say a USERNAME or an ADDRESS, or --all.")
        unlocked = self._unlock(subject)
        self.stdout.write(_summary(subject or "everybody", unlocked))
        # Whoever signs in from there is refused under every name.
        for lockout in lockouts(timezone.now()):
            if lockout.name_key is None:
                self.stdout.write(f"The address {lockout.address} is locked as a whole: unlock it, too.")

    def _unlock(self, subject: str | None) -> list[Attempt]:
        if subject is None:
            unlocked = unlock()
            name = address = None
        elif parse_address(subject.removesuffix("/64")) is not None:
            name, address = None, counted_address(subject.removesuffix("/64"))
            unlocked = unlock(address=address)
        else:
            name, address = subject if _is_key(subject) else claimed_name(subject), None
            unlocked = unlock(subject if _is_key(subject) else name_key(subject))
            if not unlocked and not Principal.objects.filter(name=subject).exists():
                raise CommandError(
                    f"{subject!r} is nobody's name and no address, and nothing is counted for it."
                )
        if unlocked:
            record_unlock(name, address, None, None)
        return unlocked


def _is_key(subject: str) -> bool:
    """Whether it is a name as the lockouts' page shows one that nobody has."""
    return subject.startswith("h:")


def _summary(subject: str, unlocked: list[Attempt]) -> str:
    if not unlocked:
        return f"No failed sign-ins are counted for {subject}: nothing to unlock."
    names, addresses = len({each.name_key for each in unlocked}), len({each.address for each in unlocked})
    return f"Unlocked {subject}: forgot the failures of {_number(names, 'name')} from {_number(addresses, 'address')}."


def _number(count: int, word: str) -> str:
    plural = f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{count} {word if count == 1 else plural}"
