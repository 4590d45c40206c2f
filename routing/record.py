"""Record what became of an exchange, once: a line of the access log and an audit record (step 9)."""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from routing.access_log import AccessLog
from routing.pipeline.errors import AuditUnavailable, BodyTooLarge, GatewayError, Refusal, Unauthenticated
from routing.pipeline.exchange import Exchange

Audit = Callable[[str, dict[str, Any]], None]
Settle = Callable[[], Awaitable[None]]


class Recorder:
    """Turns exchanges into records; knows neither the spool nor the log's destination.

    Where the audit is required, `audit` raises AuditUnavailable for a record that can't be stored,
    and `settle` waits until those stored are as durable as the settings ask.
    """

    def __init__(
        self,
        access_log: AccessLog | None,
        audit: Audit,
        settle: Settle | None = None,
        has_room: Callable[[], bool] | None = None,
        note_key: Callable[[int, float], None] | None = None,
    ) -> None:
        self._access_log = access_log
        self._audit = audit
        self._has_room = has_room
        self._note_key = note_key
        self.settle = settle

    def check_room(self) -> None:
        """Before a request goes upstream. Raises AuditUnavailable where its record couldn't be stored."""
        if self._has_room is not None and not self._has_room():
            raise AuditUnavailable("the audit spool has no room")

    def record(self, exchange: Exchange, error: BaseException | None = None) -> None:
        """Record the exchange as it stands, the first time; `error` is what ended it, if anything did.

        Raises AuditUnavailable where the audit is required.
        """
        if exchange.recorded:
            return
        exchange.recorded = True
        duration_ms = (perf_counter() - exchange.started) * 1000
        event = "request_completed" if error is None else _event(error)
        if self._access_log is not None:
            self._access_log.add(
                exchange.started_at + duration_ms / 1000,
                event,
                exchange.request_id,
                exchange.method,
                exchange.path.decode("latin-1"),
                exchange.status,
                exchange.client_ip,
                duration_ms,
                None if error is None else _extra(error),
            )
        identity = exchange.identity
        if self._note_key is not None and identity is not None and identity.credential is not None:
            self._note_key(identity.credential.id, exchange.started_at)
        self._audit(event, _audit_fields(exchange, error, duration_ms))

    def record_connected(self, exchange: Exchange) -> None:
        """A WebSocket has been accepted."""
        self._record_socket(exchange, "ws_connected", {})

    def record_disconnected(self, exchange: Exchange, ending: dict[str, Any]) -> None:
        """A WebSocket has ended; `ending` says how: close_code, close_reason, closed_by, messages."""
        exchange.recorded = True
        self._record_socket(exchange, "ws_disconnected", ending)

    def _record_socket(self, exchange: Exchange, event: str, more: dict[str, Any]) -> None:
        duration_ms = (perf_counter() - exchange.started) * 1000
        if self._access_log is not None:
            self._access_log.add(
                exchange.started_at + duration_ms / 1000,
                event,
                exchange.request_id,
                exchange.method,
                exchange.path.decode("latin-1"),
                exchange.status,
                exchange.client_ip,
                duration_ms,
                more,
            )
        self._audit(event, _audit_fields(exchange, None, duration_ms) | more)


def _event(error: BaseException) -> str:
    if isinstance(error, Unauthenticated):
        return "api_key_rejected"
    if isinstance(error, BodyTooLarge):
        return "request_body_too_large"
    return "request_completed" if isinstance(error, Refusal) else "request_failed"


def _extra(error: BaseException) -> dict[str, Any]:
    if isinstance(error, Refusal):
        return {"code": error.code}
    code = error.code if isinstance(error, GatewayError) else "internal_error"
    return {"code": code, "exception": type(error).__name__}


def _audit_fields(exchange: Exchange, error: BaseException | None, duration_ms: float) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": exchange.request_id,
        "trace_id": exchange.trace_id,
        "method": exchange.method,
        "host": exchange.host,
        "path": exchange.path.decode("latin-1"),
        "status": exchange.status,
        "decision": "allow",
        "rule": exchange.rule,
        "action": exchange.action,
        "revision": exchange.revision,
        "client_ip": exchange.client_ip,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "duration_ms": round(duration_ms, 3),
    }
    if exchange.user_agent:
        fields["user_agent"] = exchange.user_agent
    if exchange.query:
        fields["query"] = exchange.query
    route = exchange.route
    if route is not None:
        fields["route"] = route.name
        fields["service"] = route.service.name
        fields["asset"] = route.asset
    identity = exchange.identity
    if identity is not None:
        fields["principal"] = identity.name
        fields["principal_id"] = identity.principal_id
        fields["authenticator"] = identity.authenticator
        if identity.credential is not None:
            fields["credential_kind"] = identity.authenticator
            fields["credential"] = identity.credential.public_id
    if exchange.by_ticket:
        fields["ticket"] = True
    if exchange.grant_id is not None:
        fields["grant"] = exchange.grant_id
    if exchange.upstream_seconds is not None:
        fields["upstream_ms"] = round(exchange.upstream_seconds * 1000, 3)
    if exchange.target:
        fields["target"] = exchange.target
    if exchange.abort is not None:
        fields["abort"] = exchange.abort
    if error is not None:
        _add_error(fields, error)
    return fields


def _add_error(fields: dict[str, Any], error: BaseException) -> None:
    if isinstance(error, Refusal):
        fields["decision"] = error.code
        # Hygiene, a look-up that failed, a body that outgrew its limit: they decided, too.
        fields["rule"] = f"refusal:{error.code}"
        fields["reason"] = error.reason
    elif isinstance(error, GatewayError):
        fields["reason"] = f"{error.code}: {error.reason}"
    else:
        fields["reason"] = type(error).__name__
