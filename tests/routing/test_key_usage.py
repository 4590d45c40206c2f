"""When a key was last used is written past everything that a change of configuration sets off."""

from datetime import UTC, datetime, timedelta

import pytest

from accounts.keys import issue_key
from accounts.models import ApiKey, Principal
from accounts.revisions import current_revision
from routing import key_usage
from routing.key_usage import KeyUsage, write_use

NOW = 1_700_000_000.0


@pytest.fixture
def key() -> ApiKey:
    principal = Principal(name="alice")
    principal.save()
    return issue_key(principal, "laptop").key


@pytest.mark.django_db
def test_last_use_is_written_without_a_revision_or_history(key: ApiKey) -> None:
    before = current_revision(), key.history.count()
    usage = KeyUsage()
    usage.note(key.pk, NOW - 5)
    usage.note(key.pk, NOW)
    usage.write()
    key.refresh_from_db()
    assert key.last_used_at == datetime.fromtimestamp(NOW, UTC)
    assert (current_revision(), key.history.count()) == before


@pytest.mark.django_db
def test_nothing_is_written_before_a_minute_has_passed(key: ApiKey, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(key_usage, "monotonic", lambda: clock[0])
    usage = KeyUsage()
    usage.note(key.pk, NOW)
    clock[0] += 59
    usage.write_when_due()
    key.refresh_from_db()
    assert key.last_used_at is None
    clock[0] += 1
    usage.write_when_due()
    key.refresh_from_db()
    assert key.last_used_at is not None


@pytest.mark.django_db
def test_key_deleted_meanwhile_is_passed_over(key: ApiKey) -> None:
    usage = KeyUsage()
    usage.note(key.pk, NOW)
    key.delete()
    usage.write()
    assert not ApiKey.objects.exists()


@pytest.mark.django_db
def test_use_outside_the_data_plane_is_written_at_once_and_then_once_a_minute(key: ApiKey) -> None:
    first = datetime.fromtimestamp(NOW, UTC)
    for seconds, written in ((0, 0), (59, 0), (61, 61), (62, 61)):
        write_use(key.pk, first + timedelta(seconds=seconds))
        key.refresh_from_db()
        assert key.last_used_at == first + timedelta(seconds=written)
