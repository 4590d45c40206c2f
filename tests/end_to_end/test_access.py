"""Rules 4 and 15: deny by default, and a refusal tells nothing about credentials."""

from typing import Any

import pytest

from tests.end_to_end.configuration import ALICE_KEY, BOB_KEY
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import RawResponse, request_bytes
from tests.end_to_end.stub_upstream import StubUpstream

# Method, path, key, and the status and code of the answer (None: the upstream's own).
ACCESS = {
    "no-route": ("GET", "/nothing/{}", None, 404, "route_not_found"),
    "no-route-with-key": ("GET", "/nothing/{}", ALICE_KEY, 404, "route_not_found"),
    "root": ("GET", "/", None, 404, "route_not_found"),
    "public": ("GET", "/open/{}", None, 200, None),
    "public-with-key": ("GET", "/open/{}", ALICE_KEY, 200, None),
    "authenticated-without-key": ("GET", "/private/{}", None, 401, "credential_missing"),
    "authenticated": ("GET", "/private/{}", BOB_KEY, 200, None),
    "granted-without-key": ("GET", "/orders/{}", None, 401, "credential_missing"),
    "granted-read": ("GET", "/orders/{}", ALICE_KEY, 200, None),
    "granted-head": ("HEAD", "/orders/{}", ALICE_KEY, 200, None),
    "granted-write": ("POST", "/orders/{}", ALICE_KEY, 200, None),
    "granted-delete": ("DELETE", "/orders/{}", ALICE_KEY, 403, "grant_missing"),
    "not-granted": ("GET", "/orders/{}", BOB_KEY, 403, "grant_missing"),
    "unknown-method-needs-more-than-read": ("PROPFIND", "/orders/{}", BOB_KEY, 403, "grant_missing"),
    "role-held": ("GET", "/engineers/{}", ALICE_KEY, 200, None),
    "role-not-held": ("GET", "/operators/{}", ALICE_KEY, 403, "role_missing"),
    "no-role": ("GET", "/engineers/{}", BOB_KEY, 403, "role_missing"),
    "prefix-ends-on-a-segment": ("GET", "/open-admin/{}", ALICE_KEY, 404, "route_not_found"),
    "prefix-goes-on-without-slash": ("GET", "/openx/{}", ALICE_KEY, 404, "route_not_found"),
    "prefix-cut-short": ("GET", "/ope/{}", ALICE_KEY, 404, "route_not_found"),
    "named-segment": ("GET", "/items/{}/parts/7", None, 200, None),
    "named-segment-alone": ("GET", "/items/{}", None, 404, "route_not_found"),
    "named-segment-is-one": ("GET", "/items/{}/x/parts", None, 404, "route_not_found"),
    "named-segment-boundary": ("GET", "/items/{}/partsx", None, 404, "route_not_found"),
    "method-not-served": ("POST", "/read-only/{}", None, 405, "method_not_allowed"),
    "method-served": ("HEAD", "/read-only/{}", None, 200, None),
    "host-not-served": ("GET", "/hosted/{}", None, 404, "route_not_found"),
    "key-in-a-query-that-may-not-hold-it": (
        "GET",
        f"/private/{{}}?api_key={ALICE_KEY}",
        None,
        401,
        "credential_invalid",
    ),
    "key-in-the-query": ("GET", f"/query-key/{{}}?api_key={ALICE_KEY}", None, 200, None),
    "wrong-key-in-the-query": (
        "GET",
        "/query-key/{}?api_key=nobodys-key-at-all",
        None,
        401,
        "credential_invalid",
    ),
    "two-keys-in-the-query": (
        "GET",
        f"/query-key/{{}}?api_key={ALICE_KEY}&api_key={BOB_KEY}",
        None,
        400,
        "bad_target",
    ),
}


@pytest.mark.parametrize("method, path, key, status, code", ACCESS.values(), ids=ACCESS.keys())
def test_only_what_a_route_allows_reaches_the_upstream(
    gateway: GatewayProcess,
    upstream: StubUpstream,
    name: str,
    method: str,
    path: str,
    key: str | None,
    status: int,
    code: str | None,
) -> None:
    lines = [f"X-API-Key: {key}"] if key else []
    answer = gateway.exchange(request_bytes(path.format(name), *lines, method=method))
    assert (answer.status, answer.error_code if method != "HEAD" else None) == (status, code)
    reached = [
        request for request in upstream.requests if name in request.target.decode().split("?")[0].split("/")
    ]
    assert bool(reached) is (status == 200)


def test_method_not_served_names_those_that_are(gateway: GatewayProcess) -> None:
    answer = gateway.request("DELETE", "/read-only/x")
    assert answer.header("Allow") == b"GET, HEAD"


def test_route_of_another_host_is_found_under_its_own(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    for host in ("one.test", "ONE.test:8000", "one.test."):
        assert gateway.request("GET", f"/hosted/{name}", host=host).status == 200, host
    for host in ("two.test", "one.test.two.test", "xone.test"):
        assert gateway.request("GET", f"/hosted/{name}", host=host).status == 404, host


def shown(answer: RawResponse) -> dict[str, Any]:
    """All that a client can tell answers apart by, less what differs between any two requests."""
    varying = (b"date", b"x-request-id", b"x-trace-id")
    envelope = answer.json()
    envelope["error"].pop("request_id")
    return {
        "status": answer.status,
        "headers": [field for field in answer.headers if field[0].lower() not in varying],
        "envelope": envelope,
    }


@pytest.fixture(scope="module")
def bad_keys(gateway: GatewayProcess) -> dict[str, str]:
    """Keys that don't work, each for a reason of its own."""
    secrets: dict[str, str] = gateway.execute(
        "from datetime import timedelta\n"
        "from django.utils import timezone\n"
        "from accounts.keys import issue_key, revoke_key\n"
        "from accounts.models import Principal\n"
        "alice = Principal.objects.get(name='alice')\n"
        "gone = Principal.objects.create_user('gone', is_active=False)\n"
        "hour_ago = timezone.now() - timedelta(hours=1)\n"
        "revoked = issue_key(alice, 'revoked')\n"
        "revoke_key(revoked.key)\n"
        "{'expired': issue_key(alice, 'expired', expires_at=hour_ago).secret,\n"
        " 'revoked': revoked.secret,\n"
        " 'disabled': issue_key(gone, 'disabled').secret,\n"
        " 'elsewhere': issue_key(alice, 'elsewhere', allowed_cidrs=['10.0.0.0/8']).secret}"
    )
    expired = secrets["expired"]
    return {
        **secrets,
        "unknown": "gw_aaaaaaaaaa_" + "A" * 43,
        "wrong-secret-of-a-known-id": expired[:-4] + ("AAAA" if not expired.endswith("AAAA") else "BBBB"),
        "no-form-at-all": "x",
        "long": "k" * 4000,
    }


def test_every_bad_key_gets_the_same_answer(
    gateway: GatewayProcess, upstream: StubUpstream, bad_keys: dict[str, str], name: str
) -> None:
    answers = {
        kind: gateway.exchange(request_bytes(f"/private/{name}", f"X-API-Key: {secret}"))
        for kind, secret in bad_keys.items()
    }
    expected = shown(answers["unknown"])
    assert (expected["status"], expected["envelope"]["error"]["code"]) == (401, "credential_invalid")
    assert {kind: shown(answer) for kind, answer in answers.items()} == dict.fromkeys(answers, expected)
    assert upstream.to(f"/private/{name}") == []


def test_bad_key_answers_the_same_however_it_is_carried(
    gateway: GatewayProcess, bad_keys: dict[str, str]
) -> None:
    in_header = gateway.exchange(request_bytes("/query-key/x", f"X-API-Key: {bad_keys['revoked']}"))
    as_bearer = gateway.exchange(
        request_bytes("/query-key/x", f"Authorization: Bearer {bad_keys['revoked']}")
    )
    in_query = gateway.exchange(request_bytes(f"/query-key/x?api_key={bad_keys['revoked']}"))
    assert shown(in_header) == shown(as_bearer) == shown(in_query)


@pytest.mark.parametrize(
    "carried", ["X-API-Key: {}", "X-API-Key:{} ", "X-API-Key: {}\t"], ids=["plain", "space", "tab"]
)
def test_spaces_around_a_key_are_no_part_of_it(gateway: GatewayProcess, carried: str) -> None:
    assert gateway.exchange(request_bytes("/private/x", carried.format(ALICE_KEY))).status == 200


@pytest.mark.parametrize(
    "value", ["", "Basic YTpi", "Bearer", "Bearer  ", f"Bearer{ALICE_KEY}", f"Bearer x {ALICE_KEY}"]
)
def test_other_authorization_is_no_key(gateway: GatewayProcess, value: str) -> None:
    assert gateway.exchange(request_bytes("/private/x", f"Authorization: {value}")).status == 401


def test_keys_are_in_no_log(gateway: GatewayProcess, bad_keys: dict[str, str]) -> None:
    gateway.exchange(request_bytes("/private/logged", f"X-API-Key: {ALICE_KEY}"))
    gateway.wait_for_log(event="request_completed", path="/private/logged")
    log = gateway.log()
    secrets = [ALICE_KEY, BOB_KEY, *(secret for secret in bad_keys.values() if len(secret) > 8)]
    assert [secret for secret in secrets if secret in log] == []
