"""Record who was let in at the gateway's own API and who was not."""

from typing import Any

from django.http import HttpRequest

from auditlog import recorder as audit
from routing.pipeline.errors import GatewayError
from routing.pipeline.exchange import Exchange


def record(request: HttpRequest, event: str, status: int, more: dict[str, Any]) -> None:
    """One audit record of a request that `routing.api.identification` has read."""
    exchange: Exchange = request.exchange  # type: ignore[attr-defined]
    fields = {
        "request_id": request.request_id,  # type: ignore[attr-defined]
        "method": request.method,
        "path": request.path,
        "status": status,
        "client_ip": exchange.client_ip,
    }
    audit.record(event, fields | _subject(exchange) | more)


def record_refusal(request: HttpRequest, status: int, code: str, error: Exception) -> None:
    """`api_key_rejected`, if `error` is about who asks: a Refusal, or a key that may not do this."""
    exchange: Exchange | None = getattr(request, "exchange", None)
    if exchange is None:
        return
    if isinstance(error, GatewayError):
        record(request, "api_key_rejected", status, {"decision": code, "reason": error.reason})
    elif exchange.identity is not None:
        record(request, "api_key_rejected", status, {"decision": code, "reason": str(error)})


def _subject(exchange: Exchange) -> dict[str, Any]:
    identity = exchange.identity
    if identity is None:
        return {}
    subject: dict[str, Any] = {"principal": identity.name, "principal_id": identity.principal_id}
    if identity.credential is not None:
        subject["credential"] = identity.credential.public_id
        subject["credential_kind"] = identity.authenticator
    return subject
