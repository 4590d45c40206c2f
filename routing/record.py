"""Record what became of an exchange, once: a line of the access log and an audit record (step 9)."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

from auditlog.repeating import Repeating
from routing.access_log import AccessLog
from routing.pipeline.authorization import ACTIONS
from routing.pipeline.errors import AuditUnavailable, BodyTooLarge, GatewayError, Refusal, Unauthenticated
from routing.pipeline.exchange import Exchange

logger = logging.getLogger("gatehouse.audit")

Audit = Callable[[str, dict[str, Any]], None]
# What is repeated of an exchange, the requests of a turn -> which are not plain; see auditlog.recorder.record_turn
AuditTurn = Callable[[Callable[[Any], dict[str, Any]], Sequence[Repeating]], list[int]]
REMEMBERED_AGENT_BYTES = 512
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
        audit_turn: AuditTurn | None = None,
    ) -> None:
        self._access_log = access_log
        self._audit = audit
        self._has_room = has_room
        self._note_key = note_key
        self._audit_turn = audit_turn
        self._held: list[tuple[Exchange, float]] | None = None
        self.settle = settle

    def check_room(self) -> None:
        """Before a request goes upstream. Raises AuditUnavailable where its record couldn't be stored."""
        if self._has_room is not None and not self._has_room():
            raise AuditUnavailable("the audit spool has no room")

    def hold(self) -> None:
        """Gather completed exchanges until `release`: those of one turn of the loop. Not where the audit is required."""
        self._held = []

    def release(self) -> None:
        """Record what was held; to be called before any answer to it goes out."""
        held, self._held = self._held, None
        if held and self._audit_turn is not None:
            self._record_repeating(held, self._audit_turn)

    def record(self, exchange: Exchange, error: BaseException | None = None) -> None:
        """Record the exchange as it stands, the first time; `error` is what ended it, if anything did.

        Raises AuditUnavailable where the audit is required.
        """
        if exchange.recorded:
            return
        exchange.recorded = True
        duration_ms = (perf_counter() - exchange.started) * 1000
        if error is None and self._audit_turn is not None and _repeats(exchange):
            if self._held is not None:
                self._held.append((exchange, duration_ms))
            else:
                self._record_repeating([(exchange, duration_ms)], self._audit_turn)
            return
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

    def _record_repeating(self, ended: list[tuple[Exchange, float]], audit: AuditTurn) -> None:
        """The usual case: most of what there is to say has been said of a request before."""
        try:
            requests = self._requests_of(ended)
        except Exception as error:
            self._record_apart(ended, audit, error)
            return
        not_plain: Sequence[int] = range(len(ended))
        try:
            not_plain = audit(_repeated_fields, requests)
        finally:
            if self._access_log is not None:
                _log_completed(self._access_log, ended, not_plain)

    def _requests_of(self, ended: list[tuple[Exchange, float]]) -> list[Repeating]:
        note_key = self._note_key
        requests: list[Repeating] = []
        for exchange, duration_ms in ended:
            principal = public_id = None
            identity = exchange.identity
            if identity is not None:
                principal = identity.principal_id
                credential = identity.credential
                if credential is not None:
                    public_id = credential.public_id
                    if note_key is not None:
                        note_key(credential.id, exchange.started_at)
            upstream = exchange.upstream_seconds
            request_id, trace_id = exchange.request_id, exchange.trace_id
            key = (
                # Names and rules are those of the revision: its number stands for all of them.
                exchange.revision,
                exchange.route.id,  # type: ignore[union-attr]
                exchange.rule,
                principal,
                public_id,
                exchange.method,
                exchange.host,
                exchange.user_agent,
                exchange.client_ip,
                exchange.target,
            )
            occurrence = (
                int((exchange.started_at + duration_ms / 1000) * 1_000_000),
                request_id,
                # Two ids of a client's are two objects, be they equal.
                None if trace_id is request_id else trace_id,
                exchange.path.decode("latin-1"),
                None,
                exchange.status,
                exchange.bytes_in,
                exchange.bytes_out,
                int(duration_ms * 1000),
                None if upstream is None else int(upstream * 1_000_000),
            )
            requests.append((key, exchange, occurrence, exchange.query))
        return requests

    def _record_apart(self, ended: list[tuple[Exchange, float]], audit: AuditTurn, error: Exception) -> None:
        """None of these is stored, as one can't be put into words: the others are, and of it what is sure."""
        if len(ended) > 1:
            for one in ended:
                self._record_repeating([one], audit)
            return
        ((exchange, _),) = ended
        logger.error("a request can't be recorded as it was", exc_info=error)
        fields = {"request_id": exchange.request_id, "status": exchange.status}
        self._audit("request_completed", fields | {"reason": f"recorded in part: {type(error).__name__}"})

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


def _log_completed(
    access_log: AccessLog, ended: list[tuple[Exchange, float]], not_plain: Sequence[int]
) -> None:
    add_completed = access_log.add_completed
    for position, (exchange, duration_ms) in enumerate(ended):
        add_completed(
            exchange.started_at + duration_ms / 1000,
            exchange.request_id,
            exchange.method,
            exchange.path.decode("latin-1"),
            exchange.status,
            exchange.client_ip,
            duration_ms,
            position not in not_plain,
        )


def _repeats(exchange: Exchange) -> bool:
    """Whether most of its record can be expected to have been written before."""
    return (
        exchange.route is not None
        and exchange.abort is None
        and not exchange.by_ticket
        and exchange.method in ACTIONS
        and len(exchange.user_agent) <= REMEMBERED_AGENT_BYTES
    )


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
    fields = _repeated_fields(exchange)
    fields |= {
        "request_id": exchange.request_id,
        "trace_id": exchange.trace_id,
        "path": exchange.path.decode("latin-1"),
        "status": exchange.status,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "duration_ms": round(duration_ms, 3),
    }
    if exchange.query:
        fields["query"] = exchange.query
    if exchange.by_ticket:
        fields["ticket"] = True
    if exchange.upstream_seconds is not None:
        fields["upstream_ms"] = round(exchange.upstream_seconds * 1000, 3)
    if exchange.abort is not None:
        fields["abort"] = exchange.abort
    if error is not None:
        _add_error(fields, error)
    return fields


def _repeated_fields(exchange: Exchange) -> dict[str, Any]:
    """What is the same in many records: who asked for what kind of thing, and by which rule it was decided."""
    fields: dict[str, Any] = {
        "method": exchange.method,
        "host": exchange.host,
        "decision": "allow",
        "rule": exchange.rule,
        "action": exchange.action,
        "revision": exchange.revision,
        "client_ip": exchange.client_ip,
    }
    if exchange.user_agent:
        fields["user_agent"] = exchange.user_agent
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
    if exchange.grant_id is not None:
        fields["grant"] = exchange.grant_id
    if exchange.target:
        fields["target"] = exchange.target
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
