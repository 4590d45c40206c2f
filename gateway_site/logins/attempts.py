"""Count failed sign-ins by name and address in the table of axes, and say what is locked. No passwords here.

Both are counted: a name from one address, and at a higher limit an address whatever names it tries.
A name alone is never locked: whoever knows it could keep its owner out from anywhere.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from axes.models import AccessAttempt
from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet, Sum
from django.http import HttpRequest

from gateway_site.logins.names import name_key
from routing.control_client import client_of
from routing.pipeline.client_address import limit_key, parse_address

# An office behind one address may mistype this many times as often as one person.
ADDRESS_FACTOR = 10
# Clients without a readable address (a Unix socket) are counted as one.
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing listens there
SWEEP_SECONDS = 60
SWEEP_ROWS = 5000
LISTED = 500

_swept_at: datetime | None = None


class Attempt(NamedTuple):
    """Who tries, as counted: the key of a name, and an IPv4 address or the first one of an IPv6 /64."""

    name_key: str
    address: str


class Lockout(NamedTuple):
    """One that is in force. Without a key, the whole address is locked."""

    name_key: str | None
    address: str
    failures: int
    ends: datetime


def attempt_of(request: HttpRequest, name: str) -> Attempt:
    return Attempt(name_key(name), counted_address(client_of(request)))


def counted_address(address: str) -> str:
    parsed = parse_address(address)
    return NO_ADDRESS if parsed is None else limit_key(str(parsed)).partition("/")[0]


def lockout_duration(request: HttpRequest | None = None) -> timedelta:
    return timedelta(seconds=settings.GATEWAY_LOGIN_LOCKOUT_SECONDS)


def address_limit() -> int:
    return settings.GATEWAY_LOGIN_FAILURES * ADDRESS_FACTOR


def reserve(attempt: Attempt, now: datetime) -> Lockout | None:
    """Count an attempt before its password is looked at; the lockout that forbids it, if there is one.

    Counted afterwards, all attempts of a burst would find themselves allowed. An attempt during a
    lockout is not counted, so that a lockout ends however many follow.
    Raises RuntimeError within a transaction, which could be rolled back with the count.
    """
    lockout = lockout_of(attempt, now)
    if lockout is not None:
        return lockout
    # Twice: a right password may have removed the row between its two statements.
    counted = _count(attempt, now) or _count(attempt, now)
    _sweep(now)
    if counted and _failures_at(attempt.address, now) <= address_limit():
        return None
    failures = settings.GATEWAY_LOGIN_FAILURES
    return lockout_of(attempt, now) or Lockout(*attempt, failures, now + lockout_duration())


def lockout_of(attempt: Attempt, now: datetime) -> Lockout | None:
    """The lockout that is in force for an attempt; of two, the one that lasts longer."""
    # No more rows than the limit: each holds a failure, and beyond it none is added.
    rows = list(_live(now).filter(ip_address=attempt.address).order_by("attempt_time"))
    found = [_of_name(row) for row in rows if row.username == attempt.name_key and _is_full(row)]
    whole = _of_address(attempt.address, rows)
    return max([*found, *([whole] if whole else [])], key=lambda each: each.ends, default=None)


def forget(attempt: Attempt) -> None:
    """After a right password. What others failed at from the same address stays counted."""
    AccessAttempt.objects.filter(username=attempt.name_key, ip_address=attempt.address).delete()


def lockouts(now: datetime) -> list[Lockout]:
    """Those in force, whole addresses first; at most LISTED of each kind."""
    full = _live(now).filter(failures_since_start__gte=settings.GATEWAY_LOGIN_FAILURES)
    sums = _live(now).order_by().values("ip_address").annotate(failures=Sum("failures_since_start"))
    addresses = sums.filter(failures__gte=address_limit()).values_list("ip_address", flat=True)[:LISTED]
    whole = [
        _of_address(address, _live(now).filter(ip_address=address).order_by("attempt_time"))
        for address in addresses
    ]
    return [each for each in whole if each] + [
        _of_name(row) for row in full.order_by("-attempt_time")[:LISTED]
    ]


def unlock(key: str | None = None, address: str | None = None) -> list[Attempt]:
    """Forget the failures of a name, of an address, of both together, or all; whose they were."""
    rows = AccessAttempt.objects.all()
    if key is not None:
        rows = rows.filter(username=key)
    if address is not None:
        rows = rows.filter(ip_address=address)
    unlocked = [Attempt(*each) for each in rows.values_list("username", "ip_address")]
    rows.delete()
    return unlocked


def _count(attempt: Attempt, now: datetime) -> bool:
    """Whether there was room for one more under this name and address."""
    with transaction.atomic(durable=True):
        # A row that has expired would be counted on from where it was.
        _expired(now).filter(ip_address=attempt.address).delete()
        row, _ = AccessAttempt.objects.get_or_create(
            username=attempt.name_key,
            ip_address=attempt.address,
            user_agent="",
            defaults={"failures_since_start": 0},
        )
        room = AccessAttempt.objects.filter(
            pk=row.pk, failures_since_start__lt=settings.GATEWAY_LOGIN_FAILURES
        )
        return room.update(failures_since_start=F("failures_since_start") + 1, attempt_time=now) == 1


def _live(now: datetime) -> QuerySet[AccessAttempt]:
    return AccessAttempt.objects.filter(attempt_time__gt=now - lockout_duration())


def _expired(now: datetime) -> QuerySet[AccessAttempt]:
    return AccessAttempt.objects.filter(attempt_time__lte=now - lockout_duration())


def _sweep(now: datetime) -> None:
    """Bound the table: expired rows of addresses that never come again go now and then, some at a time."""
    global _swept_at
    if _swept_at is not None and timedelta() <= now - _swept_at < timedelta(seconds=SWEEP_SECONDS):
        return
    _swept_at = now
    some = list(_expired(now).values_list("pk", flat=True)[:SWEEP_ROWS])
    AccessAttempt.objects.filter(pk__in=some).delete()


def _is_full(row: AccessAttempt) -> bool:
    return row.failures_since_start >= settings.GATEWAY_LOGIN_FAILURES


def _failures_at(address: str, now: datetime) -> int:
    rows = _live(now).filter(ip_address=address)
    return rows.aggregate(failures=Sum("failures_since_start"))["failures"] or 0


def _of_name(row: AccessAttempt) -> Lockout:
    ends = row.attempt_time + lockout_duration()
    return Lockout(row.username, row.ip_address, row.failures_since_start, ends)


def _of_address(address: str, rows: Iterable[AccessAttempt]) -> Lockout | None:
    """`rows` are its live ones, oldest first: it ends when enough of them have expired."""
    rows = list(rows)
    failures = left = sum(row.failures_since_start for row in rows)
    for row in rows:
        if left < address_limit():
            break
        left -= row.failures_since_start
        ends = row.attempt_time + lockout_duration()
    return None if failures < address_limit() else Lockout(None, address, failures, ends)
