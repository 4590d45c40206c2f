"""A start that would be dangerous is refused, and says what to do."""

from typing import Any

import pytest
from django.core.checks import run_checks

from gateway_site.server import StartRefused, check_start

PRODUCTION = {
    "GATEWAY_ENV": "production",
    "DEVELOPMENT": False,
    "DEBUG": False,
    "GATEWAY_AUTH_MODE": "gateway",
    "ALLOWED_HOSTS": ["gateway.example.com"],
    "GATEWAY_CORS_ORIGINS": [],
    "MISSING_KEYS": [],
    "GATEWAY_API_KEY": [],
}
REFUSED: dict[str, Any] = {
    "unknown-environment": ({"GATEWAY_ENV": "prod"}, "E001"),
    "debug": ({"DEBUG": True}, "E002"),
    "everybody-is-dev": ({"GATEWAY_AUTH_MODE": "dev"}, "E003"),
    "every-host": ({"ALLOWED_HOSTS": ["a.test", "*"]}, "E004"),
    "every-origin": ({"GATEWAY_CORS_ORIGINS": ["*"]}, "E005"),
    "missing-key": ({"MISSING_KEYS": ["api_key_pepper"]}, "E006"),
    "unknown-mode": ({"GATEWAY_AUTH_MODE": "none"}, "E010"),
    "azure-without-its-settings": ({"GATEWAY_AUTH_MODE": "azure_ad"}, "E011"),
    "log-format": ({"GATEWAY_LOG_FORMAT": "xml"}, "E020"),
    "no-login-failures": ({"GATEWAY_LOGIN_FAILURES": 0}, "E021"),
    "negative-lockout": ({"GATEWAY_LOGIN_LOCKOUT_SECONDS": -1}, "E021"),
    "lockout-for-ever": ({"GATEWAY_LOGIN_LOCKOUT_SECONDS": 10**12}, "E023"),
    "underscores": ({"GATEWAY_UNDERSCORE_HEADERS": "keep"}, "E020"),
    "role": ({"GATEWAY_ROLE": "both"}, "E020"),
    "body-limit": ({"GATEWAY_MAX_BODY_BYTES": 0}, "E021"),
    "timeout": ({"GATEWAY_ROUTE_TIMEOUT": -1.0}, "E021"),
    "connections": ({"GATEWAY_UPSTREAM_CONNECTIONS": 0}, "E021"),
    "short-key": ({"GATEWAY_API_KEY": ["short"]}, "E022"),
}
IN_DEVELOPMENT_TOO = {"unknown-mode", "log-format", "underscores", "role", "body-limit", "timeout"} | {
    "connections",
    "short-key",
    "azure-without-its-settings",
    "no-login-failures",
    "negative-lockout",
    "lockout-for-ever",
}


def found(settings: Any, changes: dict[str, Any]) -> set[str]:
    for name, value in (PRODUCTION | changes).items():
        setattr(settings, name, value)
    return {str(message.id) for message in run_checks() if str(message.id).startswith("gatehouse.")}


def test_sound_production_starts(settings: Any) -> None:
    assert found(settings, {}) == set()
    check_start(workers=1, role="all")


@pytest.mark.parametrize("changes, number", REFUSED.values(), ids=REFUSED.keys())
def test_dangerous_production_is_refused(settings: Any, changes: dict[str, Any], number: str) -> None:
    assert f"gatehouse.{number}" in found(settings, changes)
    with pytest.raises(StartRefused):
        check_start(workers=1, role="all")


@pytest.mark.parametrize("case", sorted(set(REFUSED) - {"unknown-environment"}))
def test_development_may_be_careless_but_not_wrong(settings: Any, case: str) -> None:
    changes, number = REFUSED[case]
    careless = {"GATEWAY_ENV": "development", "DEVELOPMENT": True}
    assert (f"gatehouse.{number}" in found(settings, careless | changes)) == (case in IN_DEVELOPMENT_TOO)


def test_key_of_the_environment_is_warned_of(settings: Any) -> None:
    assert found(settings, {"GATEWAY_API_KEY": ["a-key-that-is-long-enough"]}) == {"gatehouse.W001"}
    check_start(workers=1, role="all")


@pytest.mark.parametrize(
    "workers, role, redis, words",
    [
        (2, "all", "", "needs Redis"),
        (0, "all", "", "at least 1"),
        (1, "both", "", "--role 'both'"),
    ],
)
def test_impossible_start_is_refused(settings: Any, workers: int, role: str, redis: str, words: str) -> None:
    assert found(settings, {"GATEWAY_REDIS_URL": redis}) == set()
    with pytest.raises(StartRefused, match=words):
        check_start(workers, role)


def test_refusal_names_every_reason_and_no_secret(settings: Any) -> None:
    found(settings, {"DEBUG": True, "GATEWAY_API_KEY": ["s3cret"], "ALLOWED_HOSTS": ["*"]})
    with pytest.raises(StartRefused) as refused:
        check_start(workers=2, role="all")
    text = str(refused.value)
    assert len(text.splitlines()) >= 3
    assert "s3cret" not in text
