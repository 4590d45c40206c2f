"""Tell whose API key a request to the gateway's own API carries, by the database's rows of now."""

from time import time

from django.conf import settings
from django.http import HttpRequest

from accounts.authenticators import api_key
from accounts.directory import Directory
from accounts.identity import CredentialNotLoaded, Identity, InvalidCredential, Presented
from routing.configuration_source import find_credential
from routing.control_client import trusted_proxies
from routing.pipeline.errors import CredentialInvalid, CredentialMissing
from routing.pipeline.exchange import Exchange
from routing.pipeline.hygiene import Hygiene, HygieneLimits, read_scope, start_exchange
from routing.runtime import static_identities


class AskingDirectory(Directory):
    """Knows nothing by itself: every credential has to be looked for in the database."""

    def _may_be_in_database(self, digest: bytes) -> bool:
        return True


def read_request(request: HttpRequest) -> Exchange:
    """The request as the data plane would read it, kept as `request.exchange` for its record.

    Raises BadRequest or HeadersTooLarge, of two credentials of one kind, say.
    """
    scope = request.scope  # type: ignore[attr-defined]
    exchange = request.exchange = start_exchange(scope)  # type: ignore[attr-defined]
    read_scope(exchange, scope, _hygiene())
    return exchange


def identify(presented: Presented) -> Identity:
    """Whose key this is. Raises CredentialMissing or CredentialInvalid. Scopes are not looked at."""
    # A key in the address would end up in logs on its way: a header is what every program can set.
    presented = presented._replace(api_key_query=None, ticket=None)
    directory = AskingDirectory(settings.GATEWAY_API_KEY_PEPPER.encode())
    static_identities(directory, settings.GATEWAY_API_KEY)
    try:
        try:
            identity = api_key.authenticate(presented, directory, time())
        except CredentialNotLoaded as missing:
            _load(directory, missing.digest)
            identity = api_key.authenticate(presented, directory, time())
    except CredentialNotLoaded:
        raise CredentialInvalid("unknown key") from None
    except InvalidCredential as invalid:
        raise CredentialInvalid(invalid.described) from invalid
    if identity is None:
        raise CredentialMissing("no key was sent in a header")
    return identity


def _load(directory: Directory, digest: bytes) -> None:
    found = find_credential(digest)
    if found is not None:
        for principal in found.principals:
            directory.put_principal(principal)
        directory.put_credential(found.credential)


def _hygiene() -> Hygiene:
    limits = HygieneLimits(settings.GATEWAY_MAX_HEADER_COUNT, settings.GATEWAY_MAX_HEADER_BYTES)
    return Hygiene(limits, trusted_proxies())
