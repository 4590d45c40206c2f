"""What counts as a change, and what no history may hold."""

import pytest
from django.utils import timezone

from accounts.models import Principal
from accounts.revisions import current_revision

pytestmark = pytest.mark.django_db


def test_signing_in_is_no_change_of_configuration() -> None:
    principal = Principal.objects.create(name="alice")
    before, records = current_revision(), Principal.history.count()
    principal.last_login = timezone.now()
    principal.save(update_fields=["last_login"])
    assert current_revision() == before
    assert Principal.history.count() == records
    principal.display_name = "Alice"
    principal.save(update_fields=["display_name", "updated_at"])
    assert current_revision() == before + 1
    assert Principal.history.count() == records + 1


def test_a_password_is_in_no_history() -> None:
    principal = Principal.objects.create_user("alice", "a password of some length")
    columns = {column.name for column in Principal.history.model._meta.fields}
    assert not {"password", "last_login"} & columns
    assert not {"digest", "last_used_at"} & {
        column.name for column in principal.api_keys.model.history.model._meta.fields
    }
