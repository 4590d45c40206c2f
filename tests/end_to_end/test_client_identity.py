"""Requests of one connection, or of one turn of the loop, are each decided by what they bring."""

import json
from collections.abc import Iterator

import pytest

from tests.end_to_end.answers import small_gateway
from tests.end_to_end.configuration import ALICE_KEY, BOB_KEY
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream

CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def running(start_gateway: StartGateway, upstream: StubUpstream) -> Iterator[GatewayProcess]:
    """A gateway of this module's own: what is counted here must not be somebody else's."""
    yield (running := small_gateway(start_gateway, upstream))
    running.stop()


def test_headers_that_differ_by_one_byte_are_other_headers(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    same = request_bytes(f"/open/{name}", "X-Request-ID: one", "Cookie: a=1", "Authorization: Basic YTpi")
    for change in (b"", b"", b"one->two", b"a=1->a=2", b"YTpi->YTpj"):
        before, _, after = change.partition(b"->")
        with running.connect() as client:
            seen = []
            for sent in (same, same.replace(before, after) if change else same, same):
                client.send(sent)
                seen.append(
                    [
                        field
                        for field in client.read_response().json()["headers"]
                        if field[0] in ("cookie", "authorization", "x-request-id")
                    ]
                )
        assert seen[0] == seen[2] != []
        assert (seen[1] == seen[0]) == (change == b"")
        assert after.decode() in json.dumps(seen[1])


def test_each_request_of_a_connection_is_decided_for_its_own_key(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    asked: list[str | None] = [ALICE_KEY, BOB_KEY, None, ALICE_KEY, ALICE_KEY, "wrong", BOB_KEY, None]
    with running.connect() as client:
        answers = [
            client.request("GET", f"/private/{name}", {} if key is None else {"X-API-Key": key})
            for key in asked[:5]
        ]
        answers.append(client.request("GET", f"/private/{name}", {"X-API-Key": "wrong"}))
        answers += [
            client.request("GET", f"/private/{name}", {} if key is None else {"X-API-Key": key})
            for key in asked[6:]
        ]
    names = []
    for answer in answers:
        fields = dict(answer.json().get("headers", []))
        names.append(fields.get("x-user-name", answer.status))
    assert names == ["alice", "bob", 401, "alice", "alice", 401, "bob", 401]


def test_requests_of_many_connections_at_once_keep_their_own_identity(
    running: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    clients = [running.connect() for _ in range(40)]
    try:
        for turn in range(10):
            for number, client in enumerate(clients):
                key = ALICE_KEY if (number + turn) % 2 else BOB_KEY
                client.send(request_bytes(f"/private/{name}?n={number}-{turn}", f"X-API-Key: {key}"))
            for number, client in enumerate(clients):
                seen = client.read_response().json()
                assert seen["target"] == f"/private/{name}?n={number}-{turn}"
                expected = "alice" if (number + turn) % 2 else "bob"
                assert dict(seen["headers"])["x-user-name"] == expected
    finally:
        for client in clients:
            client.close()


def test_key_revoked_between_two_equal_requests_of_a_connection_is_refused(
    running: GatewayProcess, name: str
) -> None:
    secret = running.issue_key("alice", name=f"revoked-{name}")
    with running.connect() as client:
        sent = request_bytes(f"/private/{name}", f"X-API-Key: {secret}")
        for _ in range(3):
            client.send(sent)
            assert client.read_response().status == 200
        running.execute(
            "from accounts.models import ApiKey\nfrom django.utils import timezone\n"
            "key = ApiKey.objects.get(name=key_name)\nkey.revoked_at = timezone.now()\n"
            "key.save(update_fields=['revoked_at'])",
            key_name=f"revoked-{name}",
        )
        client.send(sent)
        assert client.read_response().error_code == "credential_invalid"
