"""Make, digest and rotate API keys. The one place that ever holds a key's secret."""

import base64
import secrets
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from accounts.digests import PREFIX, digest_secret
from accounts.models import ApiKey, Principal

SECRET_BYTES = 32
PUBLIC_ID_BYTES = 6
# An imported key shorter than this can be guessed on line.
MINIMUM_IMPORTED_LENGTH = 16
MAXIMUM_LENGTH = 512

# Sent with `key` and `successor`, both rows, within the transaction that rotates.
key_rotated = Signal()


class IssuedKey(NamedTuple):
    key: ApiKey
    secret: str


class WeakKey(ValueError):
    """An imported key is too short, too long or not visible ASCII."""


def digest_of(secret: str) -> bytes:
    return digest_secret(secret.encode(), settings.GATEWAY_API_KEY_PEPPER.encode())


def issue_key(principal: Principal, name: str, **fields: Any) -> IssuedKey:
    """Create a key and return it with its secret, which is stored nowhere."""
    public_id = new_public_id()
    secret = f"{PREFIX}{public_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return IssuedKey(_store(principal, name, public_id, digest_of(secret), fields), secret)


def import_key(principal: Principal, name: str, secret: str, **fields: Any) -> ApiKey:
    """Take over a key that clients hold already. Raises WeakKey."""
    check_imported_secret(secret)
    return _store(principal, name, new_public_id(), digest_of(secret), fields)


def import_digest(principal: Principal, name: str, public_id: str, digest: bytes, **fields: Any) -> ApiKey:
    """Take over a key from another Gatehouse that has the same pepper."""
    return _store(principal, name, public_id, digest, fields)


def check_imported_secret(secret: str) -> None:
    if not MINIMUM_IMPORTED_LENGTH <= len(secret) <= MAXIMUM_LENGTH:
        raise WeakKey(
            f"a key needs {MINIMUM_IMPORTED_LENGTH} to {MAXIMUM_LENGTH} characters, this has {len(secret)}"
        )
    if not all("!" <= character <= "~" for character in secret):
        raise WeakKey("a key may hold visible ASCII characters only")


@transaction.atomic
def rotate_key(key: ApiKey) -> IssuedKey:
    """Issue a successor and let the old key live for the grace period (two live keys meanwhile)."""
    now = timezone.now()
    old_name, stamp = key.name, now.strftime("%Y%m%d%H%M%S")
    grace_ends = now + timedelta(seconds=settings.GATEWAY_KEY_ROTATION_GRACE_SECONDS)
    expiry = key.expires_at
    key.name = f"{old_name[:130]}.until-{stamp}"
    key.expires_at = min(key.expires_at, grace_ends) if key.expires_at else grace_ends
    key.save(update_fields=["name", "expires_at", "updated_at"])
    issued = issue_key(
        key.principal,
        old_name,
        scopes=key.scopes,
        allowed_cidrs=key.allowed_cidrs,
        expires_at=expiry,
    )
    key_rotated.send(ApiKey, key=key, successor=issued.key)
    return issued


def revoke_key(key: ApiKey) -> None:
    """End a key now; revoking twice keeps the first time."""
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at", "updated_at"])


def new_public_id() -> str:
    return base64.b32encode(secrets.token_bytes(PUBLIC_ID_BYTES)).decode().rstrip("=").lower()


def _store(principal: Principal, name: str, public_id: str, digest: bytes, fields: dict[str, Any]) -> ApiKey:
    key = ApiKey(principal=principal, name=name, public_id=public_id, digest=digest, **fields)
    key.save()
    return key
