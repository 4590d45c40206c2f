"""Recognise an API key, in whichever of the three ways it is carried. Memory only."""

from ipaddress import ip_address

from accounts.digests import PREFIX
from accounts.directory import Directory
from accounts.identity import CredentialNotLoaded, Identity, InvalidCredential, Presented

NAME = "api_key"
_PREFIX = PREFIX.encode()
_BEARER = b"bearer "


def authenticate(presented: Presented, directory: Directory, now: float) -> Identity | None:
    """Return the key's identity; None when no API key was sent.

    Raises InvalidCredential for a key that is unknown, revoked, expired, from a network it may not
    be used from, or of a disabled principal; CredentialNotLoaded when the index can't tell.
    """
    secret, only_if_known = _secret_of(presented)
    if secret is None:
        return None
    identity = directory.identity_by_digest(_digest(secret, presented, directory))
    if identity is None:
        if only_if_known and not secret.startswith(_PREFIX):
            return None
        raise InvalidCredential("unknown key")
    return _check(identity, presented, now)


def is_key(authorization: bytes, directory: Directory) -> bool:
    """Whether an Authorization header carries an API key: known here, of our form, or perhaps known."""
    secret = authorization.partition(b" ")[2].strip()
    if secret.startswith(_PREFIX) or authorization.startswith(_PREFIX):
        return True
    try:
        return any(
            directory.identity_by_digest(directory.digest(text)) is not None
            for text in (secret, authorization)
        )
    except CredentialNotLoaded:
        return True


def _digest(secret: bytes, presented: Presented, directory: Directory) -> bytes:
    known = presented.digests
    if known is None:
        return directory.digest(secret)
    digest = known.get(secret)
    if digest is None:
        digest = known[secret] = directory.digest(secret)
    return digest


def _secret_of(presented: Presented) -> tuple[bytes | None, bool]:
    """The key, and whether it may turn out to be another authenticator's token."""
    if presented.api_key_header is not None:
        return presented.api_key_header, False
    authorization = presented.authorization
    if authorization is not None and authorization[:7].lower() == _BEARER:
        return authorization[7:].strip(), True
    return presented.api_key_query, False


def _check(identity: Identity, presented: Presented, now: float) -> Identity:
    key = identity.credential
    assert key is not None
    if key.revoked_at <= now:
        raise InvalidCredential("key revoked", key.public_id, identity.name)
    if key.expires_at <= now:
        raise InvalidCredential("key expired", key.public_id, identity.name)
    if not identity.enabled:
        raise InvalidCredential("principal disabled", key.public_id, identity.name)
    if key.networks and not _within(presented.client_ip, identity):
        raise InvalidCredential("address not allowed for this key", key.public_id, identity.name)
    return identity


def _within(client_ip: str, identity: Identity) -> bool:
    assert identity.credential is not None
    try:
        address = ip_address(client_ip)
    except ValueError:
        return False
    return any(address in network for network in identity.credential.networks)
