"""Bring the demo's database up to date; fill it, once, with the example configuration and credentials."""

from io import StringIO
from pathlib import Path
from typing import NamedTuple

from django.core.management import call_command

from accounts.models import ApiKey, Principal
from accounts.revisions import current_revision
from routing.models import Route, Worker

PRINCIPAL = "demo"
KEY_NAME = "first-run"


class Credentials(NamedTuple):
    """What a person needs to begin. An empty text: made by an earlier run, and shown then."""

    administrator: str
    password: str
    api_key: str


def prepare_database(configuration: Path) -> bool:
    """Migrate, and apply the configuration file if no route was ever made; returns whether it was.

    A later run must not undo what was changed in the admin meanwhile, deleted routes included.
    """
    call_command("migrate", verbosity=0)
    if Route.history.exists():
        return False
    call_command("gateway_config", "apply", str(configuration), stdout=StringIO())
    return True


def create_credentials() -> Credentials:
    """Create an administrator and a key for the demo principal, where there is none."""
    administrator = Principal.objects.filter(is_superuser=True, is_staff=True).order_by("pk").first()
    if administrator is not None:
        return Credentials(administrator.name, "", _create_key())
    return Credentials("admin", _printed("create_admin", after="Password: "), _create_key())


def is_served() -> bool:
    """Whether the gateway serves all that has been committed."""
    newest = Worker.objects.order_by("-seen_at").first()
    return newest is not None and newest.revision >= current_revision()


def _create_key() -> str:
    demo = Principal.objects.filter(name=PRINCIPAL).first()
    if demo is None or ApiKey.objects.filter(principal=demo).exists():
        return ""
    return _printed("create_key", PRINCIPAL, KEY_NAME, "--quiet")


def _printed(command: str, *arguments: str, after: str = "") -> str:
    """What the command printed: the rest of the line that starts with `after`."""
    output = StringIO()
    call_command(command, *arguments, stdout=output, stderr=StringIO())
    lines = output.getvalue().splitlines()
    return next(line.removeprefix(after).strip() for line in lines if line.startswith(after))
