"""One error shape on every way out, each with its stable code, its request id and the security headers."""

import pytest

from tests.end_to_end.configuration import ALICE_KEY, BOB_KEY
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import RawResponse, request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import close, read_body, send, wait_for_hang_up

ERRORS = {
    "bad-target": (400, "bad_target", request_bytes("/open/../x")),
    "bad-host": (400, "bad_host", request_bytes("/open/x", host="")),
    "duplicate-header": (400, "duplicate_header", request_bytes("/open/x", "X-API-Key: a", "X-API-Key: b")),
    "bad-method": (400, "bad_method", request_bytes("/open/x", method="get")),
    "credential-missing": (401, "credential_missing", request_bytes("/private/x")),
    "credential-invalid": (401, "credential_invalid", request_bytes("/private/x", "X-API-Key: nobodys")),
    "grant-missing": (403, "grant_missing", request_bytes("/orders/x", f"X-API-Key: {BOB_KEY}")),
    "role-missing": (403, "role_missing", request_bytes("/operators/x", f"X-API-Key: {ALICE_KEY}")),
    "route-not-found": (404, "route_not_found", request_bytes("/nothing")),
    "method-not-allowed": (405, "method_not_allowed", request_bytes("/read-only/x", method="PUT")),
    "body-too-large": (
        413,
        "body_too_large",
        request_bytes("/small/x", "Content-Length: 101", method="POST"),
    ),
    "headers-too-large": (431, "headers_too_large", request_bytes("/open/x", "X-A: " + "x" * 33_000)),
    "upstream-unreachable": (502, "upstream_unreachable", request_bytes("/nowhere/x")),
    "upstream-invalid": (502, "upstream_invalid_response", request_bytes("/open/errors-garbage")),
    "upstream-timeout": (504, "upstream_timeout", request_bytes("/hasty/errors-silent")),
}
SECURITY_HEADERS = {
    "X-Content-Type-Options": b"nosniff",
    "X-Frame-Options": b"DENY",
    "Referrer-Policy": b"no-referrer",
    "Permissions-Policy": b"geolocation=(), microphone=(), camera=()",
    "Cache-Control": b"no-store",
    "Strict-Transport-Security": b"max-age=63072000; includeSubDomains; preload",
    "Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
}


@pytest.fixture(scope="module", autouse=True)
def bad_upstream(upstream: StubUpstream) -> None:
    upstream.script("/open/errors-garbage", [send(b"no HTTP at all\r\n\r\n"), close()])
    upstream.script("/hasty/errors-silent", [read_body(), wait_for_hang_up()])


@pytest.mark.parametrize("status, code, sent", ERRORS.values(), ids=ERRORS.keys())
def test_error_has_the_envelope(gateway: GatewayProcess, status: int, code: str, sent: bytes) -> None:
    answer = gateway.exchange(sent)
    assert answer.status == status
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert set(error) == {"code", "message", "request_id", "details"}
    assert error["code"] == code
    assert error["request_id"].encode() == answer.header("X-Request-ID")
    assert answer.header("Content-Type") == b"application/json"
    assert missing_security_headers(answer) == {}


@pytest.mark.parametrize("status, code, sent", ERRORS.values(), ids=ERRORS.keys())
def test_error_is_logged_under_the_request_id_of_the_client(
    gateway: GatewayProcess, name: str, status: int, code: str, sent: bytes
) -> None:
    marked = sent.replace(b"\r\nHost:", f"\r\nX-Request-ID: {name}-{code}\r\nHost:".encode(), 1)
    assert gateway.exchange(marked).header("X-Request-ID") == f"{name}-{code}".encode()
    record = gateway.wait_for_log(request_id=f"{name}-{code}")
    assert (record["status"], record["logger"]) == (status, "gatehouse.access")
    assert {"timestamp", "level", "message", "event", "method", "path", "client_ip", "duration_ms"} <= set(
        record
    )


def missing_security_headers(answer: RawResponse) -> dict[str, list[bytes]]:
    found = {name: answer.values(name) for name in SECURITY_HEADERS}
    return {name: values for name, values in found.items() if values != [SECURITY_HEADERS[name]]}


def test_relayed_response_has_the_security_headers(gateway: GatewayProcess) -> None:
    assert missing_security_headers(gateway.request("GET", "/open/x")) == {}


def test_upstreams_own_security_headers_are_replaced_not_repeated(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nX-Frame-Options: ALLOWALL\r\nCache-Control: public\r\nContent-Length: 0\r\n\r\n"
    )
    upstream.script(f"/open/{name}", [send(head)])
    assert missing_security_headers(gateway.request("GET", f"/open/{name}")) == {}


def test_route_may_leave_the_headers_to_its_service(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Frame-Options: SAMEORIGIN\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n"
    upstream.script(f"/bare/{name}", [send(head)])
    answer = gateway.request("GET", f"/bare/{name}")
    assert (answer.header("X-Frame-Options"), answer.header("Cache-Control")) == (
        b"SAMEORIGIN",
        b"max-age=60",
    )
    assert answer.header("Content-Security-Policy") is None


def test_access_log_line_has_the_promised_fields(gateway: GatewayProcess, name: str) -> None:
    gateway.request("GET", f"/open/{name}?secret=1", headers={"X-Request-ID": name})
    record = gateway.wait_for_log(request_id=name)
    assert record["timestamp"].endswith("Z")
    assert len(record["timestamp"]) == len("2026-01-01T00:00:00.000000Z")
    fields = {key: record[key] for key in ("event", "method", "path", "status", "client_ip", "level")}
    assert fields == {
        "event": "request_completed",
        "method": "GET",
        "path": f"/open/{name}",
        "status": 200,
        "client_ip": "127.0.0.1",
        "level": "INFO",
    }
    assert record["duration_ms"] > 0


EVENTS = {
    "rejected-key": (
        request_bytes("/private/x", "X-API-Key: nobodys", "X-Request-ID: ev-key"),
        "api_key_rejected",
    ),
    "body-too-large": (
        request_bytes("/small/x", "Content-Length: 101", "X-Request-ID: ev-body", method="POST"),
        "request_body_too_large",
    ),
    "failure": (request_bytes("/nowhere/x", "X-Request-ID: ev-fail"), "request_failed"),
}


@pytest.mark.parametrize("sent, event", EVENTS.values(), ids=EVENTS.keys())
def test_log_names_the_event(gateway: GatewayProcess, sent: bytes, event: str) -> None:
    gateway.exchange(sent)
    request_id = sent.partition(b"X-Request-ID: ")[2].partition(b"\r\n")[0].decode()
    record = gateway.wait_for_log(request_id=request_id)
    assert record["event"] == event
    assert event != "request_failed" or record["exception"] == "UpstreamUnreachable"
