"""POST /auth/ws-ticket: a single-use ticket for `?ticket=`, in exchange for a credential in a header."""

from time import time
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.decorators import method_decorator
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authenticators import api_key
from accounts.directory import Directory
from accounts.identity import CredentialNotLoaded, Identity, InvalidCredential, Presented
from accounts.tickets import LIFETIME_SECONDS, TicketsUnavailable, ticket_book
from auditlog import recorder as audit
from routing.configuration_source import find_credential
from routing.control_client import trusted_proxies
from routing.pipeline.errors import CredentialInvalid, CredentialMissing, CredentialsUnavailable, GatewayError
from routing.pipeline.exchange import Exchange
from routing.pipeline.hygiene import Hygiene, HygieneLimits, read_scope, start_exchange
from routing.runtime import static_identities


class AskingDirectory(Directory):
    """Knows nothing by itself: every credential has to be looked for in the database."""

    def _may_be_in_database(self, digest: bytes) -> bool:
        return True


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class WebSocketTicketView(APIView):
    """Authenticated as the data plane is, by key, not by the admin's session: see routing.consumers."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []

    def post(self, request: Request) -> Response:
        exchange = start_exchange(request._request.scope)  # type: ignore[attr-defined]
        try:
            read_scope(exchange, request._request.scope, _hygiene())  # type: ignore[attr-defined]
            identity = identify(exchange.presented)
            ticket = _issue(exchange.presented)
        except GatewayError as error:
            _record(exchange, "api_key_rejected", error.status, {"reason": error.reason})
            return _refused(exchange, error)
        _record(exchange, "ticket_issued", 201, _subject(identity))
        body = {"ticket": ticket, "expires_in": LIFETIME_SECONDS}
        return Response(body, 201, headers={"Cache-Control": "no-store", "X-Request-ID": exchange.request_id})


def identify(presented: Presented) -> Identity:
    """Whose key this is, by the rows of now. Raises CredentialMissing or CredentialInvalid."""
    # A key in the address would end up in logs on its way: the header is what a page's fetch() can set.
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
        raise CredentialInvalid(invalid.reason) from invalid
    if identity is None:
        raise CredentialMissing("no key was sent in a header")
    return identity


def _load(directory: Directory, digest: bytes) -> None:
    found = find_credential(digest)
    if found is not None:
        for principal in found.principals:
            directory.put_principal(principal)
        directory.put_credential(found.credential)


def _issue(presented: Presented) -> str:
    try:
        return ticket_book().issue(presented.authorization, presented.api_key_header)
    except TicketsUnavailable as error:
        raise CredentialsUnavailable("the ticket can't be stored") from error


def _hygiene() -> Hygiene:
    limits = HygieneLimits(settings.GATEWAY_MAX_HEADER_COUNT, settings.GATEWAY_MAX_HEADER_BYTES)
    return Hygiene(limits, trusted_proxies())


def _subject(identity: Identity) -> dict[str, Any]:
    subject: dict[str, Any] = {"principal": identity.name, "principal_id": identity.principal_id}
    if identity.credential is not None:
        subject["credential"] = identity.credential.public_id
        subject["credential_kind"] = identity.authenticator
    return subject


def _record(exchange: Exchange, event: str, status: int, more: dict[str, Any]) -> None:
    fields = {
        "request_id": exchange.request_id,
        "method": "POST",
        "path": "/auth/ws-ticket",
        "status": status,
        "client_ip": exchange.client_ip,
    }
    audit.record(event, fields | more)


def _refused(exchange: Exchange, error: GatewayError) -> Response:
    envelope = {
        "code": error.code,
        "message": error.message,
        "request_id": exchange.request_id,
        "details": dict(error.details),
    }
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response({"error": envelope}, error.status, headers=headers)
