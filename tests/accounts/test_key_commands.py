"""create_key, rotate_key, revoke_key."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.keys import digest_of
from accounts.models import ApiKey, Principal

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Principal:
    return Principal.objects.create(name="alice")


def run(*arguments: str) -> tuple[str, str]:
    output, errors = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=output, stderr=errors)
    return output.getvalue(), errors.getvalue()


def test_create_key_prints_the_secret_and_nothing_else_on_standard_output(alice: Principal) -> None:
    output, errors = run("create_key", "alice", "laptop")
    key = ApiKey.objects.get()
    assert output.count("\n") == 1
    assert bytes(key.digest) == digest_of(output.strip())
    assert output.strip() not in errors
    assert key.public_id in errors


def test_create_key_takes_an_expiry_scopes_and_networks(alice: Principal) -> None:
    run(
        "create_key",
        "alice",
        "ci",
        "--expires-in",
        "90d",
        "--scope",
        "orders:read",
        "--scope",
        "x:*",
        "--allow-from",
        "10.0.0.0/8",
    )
    key = ApiKey.objects.get()
    assert (key.scopes, key.allowed_cidrs) == (["orders:read", "x:*"], ["10.0.0.0/8"])
    assert abs(key.expires_at - timezone.now() - timedelta(days=90)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nobody", "k"], "No principal is named 'nobody'"),
        (["alice", "a b"], "Use letters, digits"),
        (["alice", "k", "--expires-in", "soon"], "'soon' is not a duration"),
        (["alice", "k", "--expires-in", "9999999w"], "out of range|too large"),
        (["alice", "k", "--scope", "all"], "'all' is not of the form resource:action"),
        (["alice", "k", "--allow-from", "10.0.0.1/8"], "'10.0.0.1/8' is not a network"),
        (["lab", "k"], "A group can't hold API keys"),
    ],
)
def test_create_key_says_what_is_wrong_and_makes_nothing(
    alice: Principal, arguments: list[str], message: str
) -> None:
    Principal.objects.create(name="lab", kind="group")
    with pytest.raises(CommandError, match=message):
        run("create_key", *arguments)
    assert not ApiKey.objects.exists()


def test_revoke_key_ends_it_once(alice: Principal) -> None:
    run("create_key", "alice", "laptop")
    key = ApiKey.objects.get()
    assert "is revoked" in run("revoke_key", key.public_id)[0]
    first = ApiKey.objects.get().revoked_at
    assert "was revoked already" in run("revoke_key", key.public_id)[0]
    assert ApiKey.objects.get().revoked_at == first


def test_rotate_key_prints_a_successor_and_lets_the_old_key_live_on(alice: Principal) -> None:
    old_secret = run("create_key", "alice", "laptop", "--scope", "orders:read")[0].strip()
    old = ApiKey.objects.get()
    new_secret = run("rotate_key", old.public_id)[0].strip()
    assert new_secret != old_secret
    new = ApiKey.objects.get(name="laptop")
    assert bytes(new.digest) == digest_of(new_secret)
    assert new.scopes == ["orders:read"]
    old.refresh_from_db()
    assert old.state == "live"
    assert old.expires_at is not None


def test_a_revoked_key_is_not_rotated(alice: Principal) -> None:
    run("create_key", "alice", "laptop")
    key = ApiKey.objects.get()
    run("revoke_key", key.public_id)
    with pytest.raises(CommandError, match="This key is revoked"):
        run("rotate_key", key.public_id)


@pytest.mark.parametrize("command", ["revoke_key", "rotate_key"])
def test_an_unknown_public_id_is_named(command: str) -> None:
    with pytest.raises(CommandError, match="No API key has the public id 'zzz'"):
        run(command, "zzz")
