"""An export is the whole configuration, and holds no secret."""

import pytest
import yaml
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.keys import digest_of, issue_key
from accounts.models import ApiKey, Asset, Grant, Principal, Role
from routing.configuration_file.applying import apply_file, plan_file
from routing.configuration_file.exporting import export_file
from routing.configuration_file.version_1 import (
    ASSET,
    GRANT,
    LEFT_ALONE,
    PRINCIPAL,
    ROLE,
    ROUTE,
    SERVICE,
    SETTINGS,
)
from routing.models import GatewaySettings, Route, Service
from tests.routing.configuration_file.documents import EVERYTHING

pytestmark = pytest.mark.django_db


def empty_the_database() -> None:
    for model in (Route, Service, Grant, Asset, Principal, Role, GatewaySettings):
        model.objects.all().delete()


def test_an_export_applied_to_an_empty_database_gives_the_same_gateway() -> None:
    apply_file(EVERYTHING.encode())
    exported = export_file()
    digests = sorted(bytes(digest) for digest in ApiKey.objects.values_list("digest", flat=True))
    empty_the_database()
    apply_file(exported.encode())
    assert export_file() == exported
    assert sorted(bytes(digest) for digest in ApiKey.objects.values_list("digest", flat=True)) == digests
    assert plan_file(EVERYTHING.encode()).changes == []


def test_an_export_applied_to_its_own_database_changes_nothing() -> None:
    apply_file(EVERYTHING.encode())
    assert plan_file(export_file().encode(), prune=True).changes == []


def test_an_exported_key_is_a_digest_and_a_public_id() -> None:
    principal = Principal.objects.create(name="alice")
    issued = issue_key(principal, "laptop")
    exported = export_file()
    assert issued.secret not in exported
    key = yaml.safe_load(exported)["principals"][0]["api_keys"][0]
    assert key["digest"] == f"hmac-sha256:{digest_of(issued.secret).hex()}"
    assert key["public_id"] == issued.key.public_id


def test_passwords_and_the_leave_to_sign_in_are_not_exported() -> None:
    admin = Principal.objects.create_superuser("admin", "a password of some length")
    exported = export_file()
    assert admin.password not in exported
    entry = next(entry for entry in yaml.safe_load(exported)["principals"] if entry["name"] == "admin")
    assert set(entry) == {"name", "kind", "roles", "attributes"}


def test_every_key_of_the_format_is_exported() -> None:
    apply_file(EVERYTHING.encode())
    exported = yaml.safe_load(export_file())
    sections = {
        "roles": ROLE,
        "principals": PRINCIPAL,
        "assets": ASSET,
        "grants": GRANT,
        "services": SERVICE,
        "routes": ROUTE,
    }
    assert set(exported) == {"version", "settings", *sections}
    assert set(exported["settings"]) == set(SETTINGS)
    for section, keys in sections.items():
        written = set.union(*(set(entry) for entry in exported[section]))
        assert written == set(keys), section
        for entry in exported[section]:
            assert set(keys) - set(entry) <= LEFT_ALONE[section], entry


def test_an_export_takes_one_query_a_table() -> None:
    apply_file(EVERYTHING.encode())
    with CaptureQueriesContext(
        connection,
    ) as queries:
        export_file()
    assert len(queries) == 14
