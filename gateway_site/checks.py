"""Refuse a start that would be dangerous: system checks over the settings, each saying what to do."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

AUTH_MODES = ("gateway", "azure_ad", "dev")
AZURE_SETTINGS = ("GATEWAY_AZURE_AD_TENANT_ID", "GATEWAY_AZURE_AD_CLIENT_ID", "GATEWAY_AZURE_AD_AUDIENCE")
POSITIVE = (
    "GATEWAY_MAX_BODY_BYTES",
    "GATEWAY_ROUTE_TIMEOUT",
    "GATEWAY_UPSTREAM_CONNECTIONS",
    "GATEWAY_LOGIN_FAILURES",
    "GATEWAY_LOGIN_LOCKOUT_SECONDS",
)
# Longer would be for ever: an administrator can be locked out by somebody else's failures.
LONGEST_LOCKOUT_SECONDS = 30 * 86_400


@register(Tags.security)
def check_environment(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The rules of a production start."""
    problems: list[CheckMessage] = []
    if settings.GATEWAY_ENV not in ("production", "development", "staging"):
        problems.append(
            _error("E001", f"GATEWAY_ENV={settings.GATEWAY_ENV!r} is not known.", "Use production.")
        )
    if settings.DEVELOPMENT:
        return problems
    if settings.DEBUG:
        problems.append(_error("E002", "GATEWAY_DEBUG is on outside development.", "Unset GATEWAY_DEBUG."))
    if settings.GATEWAY_AUTH_MODE == "dev":
        problems.append(
            _error(
                "E003",
                "GATEWAY_AUTH_MODE=dev lets everybody in as one user.",
                "It works with GATEWAY_ENV=development only; use GATEWAY_AUTH_MODE=gateway.",
            )
        )
    if "*" in settings.ALLOWED_HOSTS:
        problems.append(
            _error(
                "E004", "GATEWAY_ALLOWED_HOSTS allows every host.", "Name the hosts of the admin and the API."
            )
        )
    if "*" in settings.GATEWAY_CORS_ORIGINS:
        problems.append(
            _error("E005", "GATEWAY_CORS_ORIGINS=* lets every site use the gateway.", "Name the origins.")
        )
    return problems + [
        _error(
            "E006",
            f"The key {name} is missing.",
            f"Set GATEWAY_{name.upper()}, or run `python manage.py generate_keys` once.",
        )
        for name in settings.MISSING_KEYS
    ]


@register(Tags.security)
def check_auth_mode(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A mode is one that exists, with everything it needs."""
    mode = settings.GATEWAY_AUTH_MODE
    if mode not in AUTH_MODES:
        return [
            _error(
                "E010", f"GATEWAY_AUTH_MODE={mode!r} is not known.", f"Use one of: {', '.join(AUTH_MODES)}."
            )
        ]
    if mode != "azure_ad":
        return []
    missing = [name for name in AZURE_SETTINGS if not getattr(settings, name)]
    if missing:
        return [_error("E011", f"GATEWAY_AUTH_MODE=azure_ad needs {', '.join(missing)}.", "Set them.")]
    # Better refused than a gateway that turns every token away.
    return [
        _error(
            "E012",
            "GATEWAY_AUTH_MODE=azure_ad is not served by this version.",
            "Use GATEWAY_AUTH_MODE=gateway.",
        )
    ]


@register(Tags.security)
def check_values(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Settings that are one of a few words, or a number within bounds."""
    problems: list[CheckMessage] = []
    for name, choices in (
        ("GATEWAY_LOG_FORMAT", ("json", "text")),
        ("GATEWAY_UNDERSCORE_HEADERS", ("drop", "reject")),
        ("GATEWAY_ROLE", ("all", "data", "control")),
    ):
        if getattr(settings, name) not in choices:
            problems.append(
                _error(
                    "E020",
                    f"{name}={getattr(settings, name)!r} is not known.",
                    f"Use {' or '.join(choices)}.",
                )
            )
    for name in POSITIVE:
        if getattr(settings, name) <= 0:
            problems.append(_error("E021", f"{name} must be more than 0.", "Unset it for the default."))
    if settings.GATEWAY_LOGIN_LOCKOUT_SECONDS > LONGEST_LOCKOUT_SECONDS:
        problems.append(
            _error(
                "E023",
                f"GATEWAY_LOGIN_LOCKOUT_SECONDS must be at most {LONGEST_LOCKOUT_SECONDS} (30 days).",
                "Unset it for the default, 15 minutes.",
            )
        )
    for key in settings.GATEWAY_API_KEY:
        if len(key.strip()) < 16:
            problems.append(
                _error(
                    "E022",
                    "GATEWAY_API_KEY holds a key shorter than 16 characters.",
                    "`openssl rand -hex 32`",
                )
            )
    if settings.GATEWAY_API_KEY and not settings.DEVELOPMENT:
        problems.append(
            Warning(
                "GATEWAY_API_KEY gives its holders every permission.",
                hint="Issue keys to principals, then unset it.",
                id="gatehouse.W001",
            )
        )
    return problems


def _error(number: str, message: str, hint: str) -> CheckMessage:
    return Error(message, hint=hint, id=f"gatehouse.{number}")
