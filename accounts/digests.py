"""The digest that stands for an API key everywhere but in its owner's hands. Pure: no ORM."""

import hmac

PREFIX = "gw_"


def digest_secret(secret: bytes, pepper: bytes) -> bytes:
    """HMAC-SHA-256 of the whole key under the pepper: 32 bytes, the look-up key of the directory."""
    return hmac.digest(pepper, secret, "sha256")
