"""A first run fills the database and makes credentials; a later one keeps what is there."""

from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.contrib.auth import authenticate

from accounts.keys import digest_of
from accounts.models import ApiKey, Principal
from gateway_site.demo.addresses import service_needs
from gateway_site.demo.banner import render_banner
from gateway_site.demo.first_run import Credentials, create_credentials, prepare_database
from routing.models import Route

pytestmark = pytest.mark.django_db
EXAMPLE = Path(settings.BASE_DIR) / "examples" / "gateway_config.yaml"


def test_example_is_loaded_once_and_later_edits_are_kept() -> None:
    assert prepare_database(EXAMPLE) is True
    names = {route["name"] for route in yaml.safe_load(EXAMPLE.read_text())["routes"]}
    assert set(Route.objects.values_list("name", flat=True)) == names
    Route.objects.all().delete()
    assert prepare_database(EXAMPLE) is False
    assert not Route.objects.exists()


def test_first_credentials_work() -> None:
    prepare_database(EXAMPLE)
    credentials = create_credentials()
    administrator = authenticate(username=credentials.administrator, password=credentials.password)
    assert isinstance(administrator, Principal)
    assert administrator.is_superuser
    key = ApiKey.objects.get(digest=digest_of(credentials.api_key))
    assert key.principal.name == "demo"


def test_second_run_makes_no_credentials() -> None:
    prepare_database(EXAMPLE)
    first = create_credentials()
    assert create_credentials() == Credentials(first.administrator, "", "")
    assert ApiKey.objects.count() == 1


def test_demo_principal_that_was_deleted_gets_no_key() -> None:
    prepare_database(EXAMPLE)
    Principal.objects.get(name="demo").delete()
    assert create_credentials().api_key == ""


def test_banner_shows_new_credentials_and_how_to_replace_old_ones() -> None:
    url = "http://127.0.0.1:8000"
    new = render_banner(url, Credentials("admin", "the-password", "gw_the-key"))
    assert "the-password" in new
    assert new.count("gw_the-key") == 3
    old = render_banner(url, Credentials("admin", "", ""))
    assert "create_admin --reset" in old
    assert "create_key demo" in old
    assert old.count(f"{url}/backtests") == 2


def test_addresses_of_the_examples_are_those_of_their_services() -> None:
    needs = service_needs(EXAMPLE)
    assert [(need.bind.host, need.bind.port) for need in needs] == [
        ("127.0.0.1", 9000 + n) for n in range(1, 5)
    ]
    assert needs[0].user == "the example service backtests"
