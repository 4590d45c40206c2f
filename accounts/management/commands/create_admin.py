"""`manage.py create_admin`: an administrator with a generated password, printed once."""

import secrets
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import Principal

PASSWORD_BYTES = 15


class Command(BaseCommand):
    help = "Create an administrator with a generated password, if there is none of that name."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", default="admin")
        parser.add_argument("--reset", action="store_true", help="give an existing one a new password")

    @transaction.atomic
    def handle(self, *args: Any, name: str, reset: bool, **options: Any) -> None:
        principal = Principal.objects.filter(name=name).first()
        if principal is None:
            self._create(name)
        elif not (principal.is_superuser and principal.is_staff):
            raise CommandError(f"{name} exists and is no administrator: choose another --name.")
        elif reset:
            self._reset(principal)
        else:
            self.stdout.write(f"{name} exists, password unchanged.")

    def _create(self, name: str) -> None:
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        try:
            Principal.objects.create_superuser(name, password)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self._print(name, password)

    def _reset(self, principal: Principal) -> None:
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        principal.set_password(password)
        principal.is_active = True
        principal.save(update_fields=["password", "is_active", "updated_at"])
        self._print(principal.name, password)

    def _print(self, name: str, password: str) -> None:
        self.stdout.write(f"Administrator: {name}")
        self.stdout.write(f"Password: {password}")
        self.stderr.write("The password is not stored in clear: keep it now.")
