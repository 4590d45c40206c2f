"""Every attempt becomes one audit record, refusals included, with what decided and without a secret."""

import json

import pytest

from tests.end_to_end.configuration import ALICE_KEY, BOB_KEY
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream
from tests.end_to_end.upstream_script import CHUNKED_HEAD, chunk, close, send, wait, wait_for_hang_up

# Path, further header lines, method, and status and decision of the record.
ATTEMPTS = {
    "allowed": ("/private/{}", [f"X-API-Key: {ALICE_KEY}"], "GET", 200, "allow"),
    "public": ("/open/{}", [], "POST", 200, "allow"),
    "no-route": ("/nothing/{}", [], "GET", 404, "route_not_found"),
    "wrong-method": ("/read-only/{}", [], "PUT", 405, "method_not_allowed"),
    "no-credential": ("/private/{}", [], "GET", 401, "credential_missing"),
    "bad-credential": ("/private/{}", ["X-API-Key: nobodys-key-at-all"], "GET", 401, "credential_invalid"),
    "no-grant": ("/orders/{}", [f"X-API-Key: {BOB_KEY}"], "GET", 403, "grant_missing"),
    "no-role": ("/operators/{}", [f"X-API-Key: {ALICE_KEY}"], "GET", 403, "role_missing"),
    "bad-target": ("/open/{}/../x", [], "GET", 400, "bad_target"),
    "too-large": ("/small/{}", ["Content-Length: 101"], "POST", 413, "body_too_large"),
    "headers-too-large": ("/open/{}", ["X-A: " + "x" * 33_000], "GET", 431, "headers_too_large"),
    "unreachable": ("/nowhere/{}", [], "GET", 502, None),
}


@pytest.mark.parametrize("path, lines, method, status, decision", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_attempt_is_one_record(
    gateway: GatewayProcess,
    name: str,
    path: str,
    lines: list[str],
    method: str,
    status: int,
    decision: str | None,
) -> None:
    request_id = f"audit-{name}"
    sent = request_bytes(path.format(name), f"X-Request-ID: {request_id}", *lines, method=method)
    assert gateway.exchange(sent).status == status
    record = gateway.wait_for_audit(request_id=request_id)
    assert record["status"] == status
    assert record["decision"] == (decision or record["decision"])
    assert (record["method"], record["client_ip"]) == (method, "127.0.0.1")
    assert len(gateway.audit_records(request_id=request_id)) == 1


def test_record_names_who_and_by_which_rule(gateway: GatewayProcess, name: str) -> None:
    lines = [f"X-Request-ID: audit-{name}", f"X-API-Key: {ALICE_KEY}"]
    assert gateway.exchange(request_bytes(f"/orders/{name}?page=2", *lines)).status == 200
    record = gateway.wait_for_audit(request_id=f"audit-{name}")
    assert (record["principal"], record["route"], record["path"]) == ("alice", "orders", f"/orders/{name}")
    body = json.loads(record["body"])
    assert body["service"] == "stub"
    assert body["asset"] == "orders"


def test_response_broken_off_by_the_upstream_is_recorded_as_such(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(f"/patient/{name}", [send(CHUNKED_HEAD + chunk(b"hello")), wait(0.1), close()])
    gateway.exchange(request_bytes(f"/patient/{name}", f"X-Request-ID: audit-{name}"))
    assert "upstream_abort" in gateway.wait_for_audit(request_id=f"audit-{name}")["body"]


def test_client_that_left_is_recorded_as_such(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    upstream.script(f"/patient/{name}", [send(CHUNKED_HEAD + chunk(b"hello")), wait_for_hang_up()])
    with gateway.connect() as client:
        client.send(request_bytes(f"/patient/{name}", f"X-Request-ID: audit-{name}"))
        client.read_until(b"hello")
    assert "client_left" in gateway.wait_for_audit(request_id=f"audit-{name}")["body"]


def test_no_key_is_in_any_record(gateway: GatewayProcess, name: str) -> None:
    target = f"/query-key/{name}?api_key={ALICE_KEY}&token=planted-secret"
    gateway.exchange(request_bytes(target, f"X-Request-ID: audit-{name}", f"Referer: http://a{target}"))
    gateway.wait_for_audit(request_id=f"audit-{name}")
    everything = json.dumps(gateway.audit_records(), default=str)
    assert [secret for secret in (ALICE_KEY, BOB_KEY, "planted-secret") if secret in everything] == []
    spool = b"".join(path.read_bytes() for path in gateway.data_dir.rglob("spool/**/*") if path.is_file())
    assert ALICE_KEY.encode() not in spool


def test_hostile_values_make_no_second_record(gateway: GatewayProcess, name: str) -> None:
    agent = b'"}\x85{"event":"forged"}' + b"\xff" * 2000
    gateway.exchange(request_bytes(f"/open/{name}", f"X-Request-ID: audit-{name}", b"User-Agent: " + agent))
    record = gateway.wait_for_audit(request_id=f"audit-{name}")
    assert json.loads(record["body"])
    assert gateway.audit_records(event="forged") == []
    assert len(gateway.audit_records(request_id=f"audit-{name}")) == 1
