"""What Django says of a client's request holds no secret and is one line."""

import logging
import sys

import orjson
import pytest
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.test import RequestFactory

from gateway_site.logging import GatewayFormatter

SECRET = "gw_abcdefghij_" + "Zq9" * 8


def line(name: str, message: str, *words: object, style: str = "json", **extra: object) -> str:
    error = sys.exc_info()
    record = logging.LogRecord(name, logging.WARNING, "", 0, message, words, error if error[0] else None)
    vars(record).update(extra)
    return GatewayFormatter(style).format(record)


def asked(target: str) -> HttpRequest:
    return RequestFactory().get(target)


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize(
    "target", [f"/v1/{SECRET}", "/v1/gw%255Fa%255FZq9Zq9Zq9", "/v1/x?Zq9Zq9", "/v1/?token=Zq9"]
)
def test_secret_in_a_request_is_not_in_the_log(target: str, style: str) -> None:
    request = asked(target)
    found = line("django.request", "%s: %s", "Not Found", request.path, style=style, request=request)
    assert "Zq9" not in found
    assert "/v1/" in found
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize(
    "path", ["/v1/a%0A%7B%7D", "/v1/%E2%80%A8x", "/v1/%E2%80%AEx", "/v1/%C2%85x", "/v1/%1B[2J"]
)
def test_path_with_a_line_end_in_it_stays_one_line(path: str, style: str) -> None:
    request = asked(path)
    found = line("django.request", "%s: %s", "Not Found", request.path, style=style, request=request)
    assert len(found.splitlines()) == 1
    assert found.isprintable()


@pytest.mark.parametrize("name", ["django.security.DisallowedHost", "django.request"])
def test_host_that_is_not_ours_is_not_in_the_log(name: str) -> None:
    try:
        raise DisallowedHost("Invalid HTTP_HOST header: 'bob:Zq9@a'.")
    except DisallowedHost as error:
        found = line(name, str(error), request=asked("/v1/audit"))
    assert "Zq9" not in found
    assert orjson.loads(found)["message"] == "Invalid HTTP_HOST header"
    assert "traceback" not in found


def test_fault_of_our_own_keeps_its_traceback() -> None:
    try:
        raise ValueError("a fault")
    except ValueError:
        found = line("django.request", "Internal Server Error: %s", "/v1/audit", request=asked("/v1/audit"))
    assert "ValueError: a fault" in orjson.loads(found)["traceback"]
