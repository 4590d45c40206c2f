"""Read the audit log's settings once, checked. The only module here that knows their names and forms."""

import re
from functools import cache

from django.conf import settings

from auditlog.chain import SigningKey, redaction_salt, signing_keys
from auditlog.redaction import ACTIONS, DEFAULT_QUERY_NAMES, Redaction, RedactionMisconfigured


@cache
def redaction_from_settings() -> Redaction:
    """Raises RedactionMisconfigured for an unknown action or a pattern that doesn't compile."""
    return Redaction(
        salt=redaction_salt(settings.GATEWAY_ENCRYPTION_KEY),
        email=_action("GATEWAY_AUDIT_REDACT_EMAIL"),
        ip=_action("GATEWAY_AUDIT_REDACT_IP"),
        principal=_action("GATEWAY_AUDIT_REDACT_PRINCIPAL"),
        path=_action("GATEWAY_AUDIT_REDACT_PATH"),
        path_patterns=tuple(_pattern(text) for text in settings.GATEWAY_AUDIT_PATH_PATTERNS),
        query_names=DEFAULT_QUERY_NAMES | frozenset(settings.GATEWAY_AUDIT_QUERY_NAMES),
        extra_forms=tuple(_pattern(text) for text in settings.GATEWAY_AUDIT_SECRET_PATTERNS),
        looks_always=bool(settings.GATEWAY_AUDIT_SECRET_PATTERNS or settings.GATEWAY_AUDIT_PATH_PATTERNS),
    )


def signing_key() -> SigningKey:
    return verification_keys()[0]


@cache
def verification_keys() -> list[SigningKey]:
    return signing_keys(settings.GATEWAY_ENCRYPTION_KEY)


def _action(name: str) -> str:
    action = getattr(settings, name)
    if action not in ACTIONS:
        raise RedactionMisconfigured(f"{name} is {action!r}, not one of {', '.join(ACTIONS)}")
    return action


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise RedactionMisconfigured(f"{text!r} is no regular expression: {error}") from error
