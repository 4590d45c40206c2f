"""`manage.py unlock_login` says what it did, and refuses what it can't understand."""

from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Principal
from auditlog import recorder as audit
from gateway_site.logins.attempts import Attempt, lockouts, reserve
from gateway_site.logins.names import name_key

pytestmark = pytest.mark.django_db(transaction=True)
Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    seen: Events = []
    monkeypatch.setattr(audit, "record", lambda event, fields, now=None: seen.append((event, fields)))
    return seen


@pytest.fixture
def locked(events: Events) -> None:
    """alice from two addresses, of which one is locked as a whole."""
    Principal.objects.create(name="alice")
    for address in ("192.0.2.1", "2001:db8:1:2::"):
        for _ in range(settings.GATEWAY_LOGIN_FAILURES):
            reserve(Attempt(name_key("alice"), address), timezone.now())
    for number in range(settings.GATEWAY_LOGIN_FAILURES * 9):
        reserve(Attempt(f"h:{number}", "192.0.2.1"), timezone.now())
    events.clear()


def unlock_login(*arguments: str) -> str:
    output = StringIO()
    call_command("unlock_login", *arguments, stdout=output)
    return output.getvalue()


def test_name_is_unlocked_everywhere_but_not_a_whole_address(locked: None, events: Events) -> None:
    said = unlock_login("alice")
    assert "Unlocked alice: forgot the failures of 1 name from 2 addresses." in said
    assert lockouts(timezone.now()) == []
    ((event, fields),) = events
    assert (event, fields["object_name"], fields["address"]) == ("login_unlocked", "alice", "*")
    assert fields["origin"] == "command"


@pytest.mark.parametrize("address", ["2001:db8:1:2:3::4", "2001:db8:1:2::/64"])
def test_ipv6_address_is_unlocked_with_its_network(locked: None, events: Events, address: str) -> None:
    assert f"Unlocked {address}: forgot the failures of 1 name from 1 address." in unlock_login(address)
    assert {each.address for each in lockouts(timezone.now())} == {"192.0.2.1"}
    assert events[0][1]["address"] == "2001:db8:1:2::"


def test_address_that_stays_locked_as_a_whole_is_named(locked: None) -> None:
    Principal.objects.create(name="bob")
    said = unlock_login("bob")
    assert "No failed sign-ins are counted for bob: nothing to unlock." in said
    assert "The address 192.0.2.1 is locked as a whole: unlock it, too." in said


def test_everybody_is_unlocked(locked: None, events: Events) -> None:
    assert "Unlocked everybody" in unlock_login("--all")
    assert lockouts(timezone.now()) == []
    assert (events[0][1]["object_name"], events[0][1]["address"]) == ("*", "*")


def test_nothing_to_unlock_is_said_and_not_recorded(events: Events) -> None:
    Principal.objects.create(name="bob")
    events.clear()
    assert "nothing to unlock" in unlock_login("bob")
    assert events == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "Say a USERNAME or an ADDRESS, or --all"),
        (("alice", "--all"), "Say a USERNAME or an ADDRESS, or --all"),
        (("nobody-at-all",), "'nobody-at-all' is nobody's name and no address"),
    ],
)
def test_what_it_cannot_understand_is_refused(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        unlock_login(*arguments)
