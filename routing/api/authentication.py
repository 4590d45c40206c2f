"""Let programs ask the gateway's own API with an API key in a header.

The key stands for its principal, so that the permissions of the admin decide. A key with scopes is refused:
they name what routes lead to, and nothing here.
"""

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.identity import Identity
from accounts.models import Principal
from routing.api.identification import identify, read_request
from routing.key_usage import write_use
from routing.pipeline.errors import CredentialInvalid, CredentialMissing, ScopeMissing


class KeyAuthentication(BaseAuthentication):  # type: ignore[misc]  # DRF carries no types
    """`X-API-Key: KEY` or `Authorization: Bearer KEY`. Raises a Refusal for a key that is not accepted."""

    def authenticate(self, request: Request) -> tuple[Principal | AnonymousUser, Identity] | None:
        if not hasattr(request._request, "scope"):
            # Only an ASGI server hands over header lines as they came: elsewhere two keys may look like one.
            return None
        exchange = read_request(request._request)
        try:
            identity = exchange.identity = identify(exchange.presented)
        except CredentialMissing:
            return None
        if identity.scopes:
            raise ScopeMissing("a key with scopes is for routes alone")
        return _principal_behind(identity), identity

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="gatehouse"'


def _principal_behind(identity: Identity) -> Principal | AnonymousUser:
    credential = identity.credential
    if credential is None or not credential.id:
        # A key of GATEWAY_API_KEY is nobody's: there is no row that a permission could be given to.
        return AnonymousUser()
    write_use(credential.id, timezone.now())
    principal = Principal.objects.filter(pk=identity.principal_id, is_active=True).first()
    if principal is None:
        raise CredentialInvalid("principal disabled")
    return principal
