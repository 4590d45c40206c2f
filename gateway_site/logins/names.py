"""What may be written down of a name that somebody typed: it may be a password in the wrong field."""

import unicodedata

from django.contrib.auth import get_user_model
from django.db import DatabaseError

from auditlog.configuration import redaction_from_settings

# Control and format characters, such as the zero-width ones.
_UNSEEN = ("Cc", "Cf")


def name_key(name: str) -> str:
    """The keyed hash that attempts under a name are counted by; spellings that look alike share one."""
    return redaction_from_settings().apply("hash", _normal(name))


def claimed_name(name: str) -> str:
    """The name if somebody has it, else its key."""
    users = get_user_model()
    try:
        known = users._default_manager.filter(**{users.USERNAME_FIELD: name}).exists()
    except (DatabaseError, ValueError):
        known = False
    return name if known else name_key(name)


def _normal(name: str) -> str:
    seen = (each for each in unicodedata.normalize("NFKC", name) if unicodedata.category(each) not in _UNSEEN)
    return "".join("".join(seen).casefold().split())
