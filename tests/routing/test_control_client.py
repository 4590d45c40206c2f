"""The client of a control plane's request is told as on the data plane."""

from typing import Any

import pytest
from django.test import RequestFactory

from routing.control_client import client_of
from routing.models import GatewaySettings

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "peer, forwarded, client",
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, no address", "10.0.0.1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "\udcff", "10.0.0.1"),
        ("", None, ""),
    ],
)
def test_client_is_told_by_trusted_proxies_alone(peer: str, forwarded: str | None, client: str) -> None:
    GatewaySettings.objects.update_or_create(pk=1, defaults={"trusted_proxies": ["10.0.0.0/8"]})
    request = RequestFactory(REMOTE_ADDR=peer).get("/admin/")
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    assert client_of(request) == client


def test_without_a_forwarded_address_nothing_is_asked_of_the_database(
    django_assert_num_queries: Any,
) -> None:
    with django_assert_num_queries(0):
        assert client_of(RequestFactory(REMOTE_ADDR="192.0.2.1").get("/")) == "192.0.2.1"


def test_other_headers_tell_nothing() -> None:
    headers = {"X-Real-IP": "198.51.100.1", "Forwarded": "for=198.51.100.1", "X-Client-IP": "198.51.100.1"}
    request = RequestFactory(REMOTE_ADDR="192.0.2.1", headers=headers).get("/")
    assert client_of(request) == "192.0.2.1"
