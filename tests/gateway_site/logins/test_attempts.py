"""What is counted, what is locked and for how long."""

from datetime import UTC, datetime, timedelta

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.db import transaction

from gateway_site.logins import attempts
from gateway_site.logins.attempts import (
    Attempt,
    address_limit,
    counted_address,
    forget,
    lockout_of,
    lockouts,
    reserve,
    unlock,
)
from gateway_site.logins.names import name_key

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 1, 1, tzinfo=UTC)
HERE = Attempt("h:alice", "192.0.2.1")
LIMIT = settings.GATEWAY_LOGIN_FAILURES
LOCKOUT = timedelta(seconds=settings.GATEWAY_LOGIN_LOCKOUT_SECONDS)


def fail(attempt: Attempt, times: int, now: datetime = NOW) -> int:
    """How many of so many attempts were let through to the password."""
    return sum(reserve(attempt, now) is None for _ in range(times))


def test_no_more_attempts_than_the_limit_get_to_the_password() -> None:
    assert fail(HERE, 50) == LIMIT
    lockout = lockout_of(HERE, NOW)
    assert lockout is not None
    assert (lockout.name_key, lockout.address, lockout.ends) == (*HERE, NOW + LOCKOUT)


def test_another_address_is_not_locked_with_the_name() -> None:
    fail(HERE, LIMIT)
    assert reserve(Attempt("h:alice", "192.0.2.2"), NOW) is None
    assert reserve(Attempt("h:bob", "192.0.2.1"), NOW) is None


def test_right_password_clears_its_own_count_alone() -> None:
    fail(HERE, LIMIT - 1)
    own = Attempt("h:attacker", HERE.address)
    reserve(own, NOW)
    forget(own)
    assert fail(HERE, 10) == 1


def test_lockout_ends_however_many_attempts_come_during_it() -> None:
    fail(HERE, LIMIT)
    for second in range(1, int(LOCKOUT.total_seconds()), 60):
        assert reserve(HERE, NOW + timedelta(seconds=second)) is not None
    assert fail(HERE, 50, NOW + LOCKOUT) == LIMIT


def test_address_is_locked_after_many_failures_under_many_names() -> None:
    through = sum(reserve(Attempt(f"h:{number}", "192.0.2.1"), NOW) is None for number in range(200))
    assert through == address_limit() == LIMIT * 10
    lockout = lockout_of(Attempt("h:new", "192.0.2.1"), NOW)
    assert lockout is not None
    assert lockout.name_key is None
    assert AccessAttempt.objects.count() == address_limit()


def test_address_is_open_again_when_enough_of_its_failures_have_expired() -> None:
    for number in range(address_limit()):
        reserve(Attempt(f"h:{number}", "192.0.2.1"), NOW + timedelta(seconds=number))
    later = NOW + timedelta(seconds=address_limit())
    lockout = lockout_of(HERE, later)
    assert lockout is not None
    assert lockout.ends == NOW + LOCKOUT
    assert reserve(HERE, lockout.ends - timedelta(milliseconds=1)) is not None
    assert reserve(HERE, lockout.ends) is None


def test_failures_of_long_ago_are_not_counted_on() -> None:
    fail(HERE, LIMIT - 1)
    assert fail(HERE, 50, NOW + LOCKOUT) == LIMIT


def test_expired_rows_of_other_addresses_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        reserve(Attempt("h:alice", f"192.0.2.{number}"), NOW)
    monkeypatch.setattr(attempts, "_swept_at", None)
    reserve(Attempt("h:bob", "198.51.100.1"), NOW + LOCKOUT)
    assert AccessAttempt.objects.count() == 1


@pytest.mark.parametrize(
    "address, counted",
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("", "0.0.0.0"),
        ("no address", "0.0.0.0"),
    ],
)
def test_address_is_counted_as_one_client_holds_it(address: str, counted: str) -> None:
    assert counted_address(address) == counted


@pytest.mark.parametrize(
    "spelling", ["Alice", "ＡＬＩＣＥ", " alice ", "a\u200blice", "al ice", "ALICE\u00a0\0"]
)
def test_spellings_of_a_name_share_one_count(spelling: str) -> None:
    assert name_key(spelling) == name_key("alice") != name_key("alicf")


def test_lockouts_are_listed_and_lifted() -> None:
    fail(HERE, LIMIT)
    fail(Attempt("h:alice", "192.0.2.2"), LIMIT)
    fail(Attempt("h:bob", "192.0.2.2"), 1)
    for number in range(address_limit()):
        reserve(Attempt(f"h:{number}", "192.0.2.3"), NOW)
    listed = lockouts(NOW)
    assert (listed[0].name_key, listed[0].address) == (None, "192.0.2.3")
    assert {(each.name_key, each.address) for each in listed[1:]} == {
        ("h:alice", "192.0.2.1"),
        ("h:alice", "192.0.2.2"),
    }
    assert unlock("h:alice", "192.0.2.1") == [HERE]
    assert reserve(HERE, NOW) is None
    assert len(unlock(address="192.0.2.3")) == address_limit()
    assert {each.address for each in lockouts(NOW)} == {"192.0.2.2"}
    unlock()
    assert lockouts(NOW) == []
    assert lockouts(NOW + LOCKOUT) == []


@pytest.mark.django_db(transaction=True)
def test_count_within_a_transaction_is_refused_loudly() -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        reserve(HERE, NOW)
