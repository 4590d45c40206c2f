"""What counts as a change, and what no history may hold."""

import pytest
from django.db.models import ProtectedError
from django.utils import timezone

from accounts.models import Principal, Role
from accounts.revisions import current_revision
from routing.models import Route, Service

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


def test_a_role_that_a_route_requires_is_not_deleted() -> None:
    role = Role.objects.get(name="engineer")
    service = Service.objects.create(name="orders")
    route = Route.objects.create(name="orders", service=service, path="/orders", access="public")
    route.required_roles.add(role)
    with pytest.raises(ProtectedError, match="A route requires the role engineer"):
        role.delete()
    assert route.required_roles.get() == role
    route.delete()
    role.delete()
    assert not Role.objects.filter(name="engineer").exists()
