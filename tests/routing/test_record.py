"""Every refusal, with its status, its code, what the client is told and what the audit record says."""

from typing import Any

import orjson
import pytest

from routing.envelope import error_response
from routing.pipeline import errors as module
from routing.pipeline.errors import GatewayError, MethodNotAllowed, Unauthenticated, Unavailable
from routing.pipeline.exchange import Exchange
from routing.record import Recorder
from tests.routing.rows import compiled, route_row, service_row

# class, status, code, event in the log
TABLE: dict[str, tuple[int, str, str]] = {
    "BadRequest": (400, "bad_request", "request_completed"),
    "BadTarget": (400, "bad_target", "request_completed"),
    "BadHost": (400, "bad_host", "request_completed"),
    "BadHeader": (400, "bad_header", "request_completed"),
    "DuplicateHeader": (400, "duplicate_header", "request_completed"),
    "BadFraming": (400, "bad_framing", "request_completed"),
    "BadMethod": (400, "bad_method", "request_completed"),
    "RouteNotFound": (404, "route_not_found", "request_completed"),
    "MethodNotAllowed": (405, "method_not_allowed", "request_completed"),
    "CredentialMissing": (401, "credential_missing", "api_key_rejected"),
    "CredentialInvalid": (401, "credential_invalid", "api_key_rejected"),
    "GrantMissing": (403, "grant_missing", "request_completed"),
    "RoleMissing": (403, "role_missing", "request_completed"),
    "ScopeMissing": (403, "scope_missing", "request_completed"),
    "ClientTimeout": (408, "client_timeout", "request_completed"),
    "BodyTooLarge": (413, "body_too_large", "request_body_too_large"),
    "HeadersTooLarge": (431, "headers_too_large", "request_completed"),
    "NotReady": (503, "not_ready", "request_completed"),
    "RouteUnavailable": (503, "route_unavailable", "request_completed"),
    "CredentialsUnavailable": (503, "credentials_unavailable", "request_completed"),
}
FAILURES = {
    "UpstreamUnreachable": (502, "upstream_unreachable", "request_failed"),
    "UpstreamInvalid": (502, "upstream_invalid_response", "request_failed"),
    "UpstreamBusy": (503, "upstream_busy", "request_failed"),
    "UpstreamTimeout": (504, "upstream_timeout", "request_failed"),
    "UpstreamAborted": (502, "upstream_abort", "request_failed"),
    "GatewayError": (500, "internal_error", "request_failed"),
}
REASON = "the secret reason"


def made(name: str) -> GatewayError:
    error = getattr(module, name)
    return error(("GET",), REASON) if error is MethodNotAllowed else error(REASON)


def an_exchange() -> Exchange:
    exchange = Exchange("POST", b"/orders/7", b"state=open")
    exchange.request_id, exchange.trace_id = "request-1", "trace-1"
    return exchange


def recorded(
    error: BaseException | None, exchange: Exchange | None = None
) -> list[tuple[str, dict[str, Any]]]:
    records: list[tuple[str, dict[str, Any]]] = []
    recorder = Recorder(None, lambda event, fields: records.append((event, fields)))
    exchange = exchange or an_exchange()
    exchange.status = exchange.status or getattr(error, "status", 200)
    recorder.record(exchange, error)
    # Every other way out finds it recorded.
    recorder.record(exchange, GatewayError("later"))
    return records


@pytest.mark.parametrize("name", [*TABLE, *FAILURES])
def test_error_is_answered_and_recorded(name: str) -> None:
    status, code, event = (TABLE | FAILURES)[name]
    error = made(name)
    ((recorded_event, fields),) = recorded(error)
    assert (recorded_event, fields["status"]) == (event, status)
    if name in TABLE:
        assert (fields["decision"], fields["rule"], fields["reason"]) == (code, f"refusal:{code}", REASON)
    else:
        assert (fields["decision"], fields["reason"]) == ("allow", f"{code}: {REASON}")

    start, body = error_response(an_exchange(), error)
    envelope = orjson.loads(body)["error"]
    assert (start["status"], envelope["code"], envelope["request_id"]) == (status, code, "request-1")
    assert REASON.encode() not in body
    headers = dict(start["headers"])
    assert headers[b"content-length"] == b"%d" % len(body)
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert (b"www-authenticate" in headers) == isinstance(error, Unauthenticated)
    assert (b"retry-after" in headers) == isinstance(error, (Unavailable, module.UpstreamBusy))
    assert headers.get(b"allow") == (b"GET" if name == "MethodNotAllowed" else None)


def test_every_refusal_has_a_status_and_a_code_of_its_own() -> None:
    """Those in the tables above, and those of other ways in."""
    errors = all_errors()
    codes = [error.code for error in errors]
    assert sorted(codes) == sorted(set(codes))
    assert {code for _, code, _ in TABLE.values()} <= set(codes)
    assert all(400 <= error.status < 600 for error in errors)


def all_errors(of: type[GatewayError] = GatewayError) -> list[type[GatewayError]]:
    return [of, *(each for sub in of.__subclasses__() for each in all_errors(sub) if "code" in vars(each))]


def test_head_is_answered_without_a_body_but_with_its_length() -> None:
    exchange = an_exchange()
    exchange.method = "HEAD"
    start, body = error_response(exchange, made("RouteNotFound"))
    assert body == b""
    assert int(dict(start["headers"])[b"content-length"]) > 0


def test_unexpected_exception_leaves_its_name_and_nothing_more() -> None:
    ((event, fields),) = recorded(ZeroDivisionError("secret detail"))
    assert (event, fields["reason"]) == ("request_failed", "ZeroDivisionError")
    assert "secret detail" not in str(fields)


def test_completed_request_says_who_what_and_where() -> None:
    exchange = an_exchange()
    exchange.status, exchange.rule, exchange.grant_id = 201, "grant:5", 5
    exchange.bytes_in, exchange.bytes_out, exchange.upstream_seconds = 3, 4, 0.25
    exchange.user_agent, exchange.target = b"curl", "http://a.test"
    ((event, fields),) = recorded(None, exchange)
    assert event == "request_completed"
    expected = {
        "decision": "allow",
        "rule": "grant:5",
        "grant": 5,
        "method": "POST",
        "path": "/orders/7",
        "query": b"state=open",
        "status": 201,
        "bytes_in": 3,
        "bytes_out": 4,
        "upstream_ms": 250.0,
        "user_agent": b"curl",
        "target": "http://a.test",
    }
    assert {name: fields[name] for name in expected} == expected


def test_exchange_that_can_not_be_put_into_words_takes_no_other_of_its_turn_along() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    stored: list[str] = []

    def store(repeated: Any, requests: Any) -> list[int]:
        stored.extend(occurrence[1] for _, _, occurrence, _ in requests)
        return []

    recorder = Recorder(None, lambda *event: told.append(event), audit_turn=store)
    recorder.hold()
    for number, seconds in enumerate((0.1, float("nan"), 0.2)):
        exchange = Exchange("GET", b"/orders", b"")
        exchange.request_id, exchange.status, exchange.upstream_seconds = f"request-{number}", 200, seconds
        exchange.route = compiled(route_row("orders", "/"), service_row(1, "http://127.0.0.1:1"))
        recorder.record(exchange)
    recorder.release()
    assert stored == ["request-0", "request-2"]
    fields = {"request_id": "request-1", "status": 200, "reason": "recorded in part: ValueError"}
    assert told == [("request_completed", fields)]
