"""`manage.py create_admin`."""

import io

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Principal

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("create_admin", *arguments, stdout=output, stderr=io.StringIO())
    return output.getvalue()


def password_of(output: str) -> str:
    return output.split("Password: ")[1].strip()


def test_the_first_time_makes_a_superuser_and_prints_the_password() -> None:
    password = password_of(run())
    admin = Principal.objects.get(name="admin")
    assert admin.is_superuser
    assert admin.is_staff
    assert admin.check_password(password)
    assert len(password) >= 20


def test_the_second_time_changes_nothing() -> None:
    password = password_of(run())
    assert run() == "admin exists, password unchanged.\n"
    assert Principal.objects.get().check_password(password)


def test_reset_gives_a_new_password_and_enables_the_account() -> None:
    old = password_of(run())
    Principal.objects.update(is_active=False)
    new = password_of(run("--reset"))
    admin = Principal.objects.get()
    assert new != old
    assert admin.check_password(new)
    assert admin.is_active


def test_a_principal_of_that_name_is_not_promoted() -> None:
    Principal.objects.create(name="alice")
    with pytest.raises(CommandError, match="alice exists and is no administrator"):
        run("--name", "alice", "--reset")
    assert not Principal.objects.get().is_superuser
