"""Secrets planted in every place of a request are found nowhere: spool, database, sinks, logs."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.configuration import configuration, route, service
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import exchange
from tests.end_to_end.stub_upstream import StubUpstream
from tests.services.deadline import wait_until

MARK = "Zq9"
# A key's random part, a token's signature, a password: what must not be found anywhere.
SECRET = f"{MARK}{secrets.token_urlsafe(24).replace('-', 'x').replace('_', 'y')}"
KEY = f"gw_abcdefghij_{SECRET}"
ENCODED = KEY.replace("_", "%255F")
TOKEN = f"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.{SECRET}"
PLACES = {
    "path": f"GET /open/{KEY}/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "token in path": f"GET /open/{TOKEN} HTTP/1.1\r\nHost: a\r\n\r\n",
    "path of no route": f"GET /nothing/{KEY} HTTP/1.1\r\nHost: a\r\n\r\n",
    "refused target": f"GET /open/../{KEY} HTTP/1.1\r\nHost: a\r\n\r\n",
    "query value": f"GET /open/x?api_key={SECRET}&limit=5 HTTP/1.1\r\nHost: a\r\n\r\n",
    "query name": f"GET /open/x?{KEY}=1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "bare query": f"GET /open/x?{SECRET} HTTP/1.1\r\nHost: a\r\n\r\n",
    "allowed parameter": f"GET /open/x?limit={KEY} HTTP/1.1\r\nHost: a\r\n\r\n",
    "key header": f"GET /private/x HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n",
    "bearer": f"GET /private/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
    "basic": f"GET /private/x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {SECRET}\r\n\r\n",
    "cookie": f"GET /open/x HTTP/1.1\r\nHost: a\r\nCookie: session={SECRET}\r\n\r\n",
    "referer": f"GET /open/x HTTP/1.1\r\nHost: a\r\nReferer: http://a/?token={SECRET}\r\n\r\n",
    "user agent": f"GET /open/x HTTP/1.1\r\nHost: a\r\nUser-Agent: curl Bearer {SECRET}\r\n\r\n",
    "key as user agent": f"GET /open/x HTTP/1.1\r\nHost: a\r\nUser-Agent: {KEY}\r\n\r\n",
    "request id": f"GET /open/x HTTP/1.1\r\nHost: a\r\nX-Request-ID: {KEY}\r\n\r\n",
    "trace id": f"GET /open/x HTTP/1.1\r\nHost: a\r\nX-Trace-Id: {KEY}\r\n\r\n",
    "unknown header": f"GET /open/x HTTP/1.1\r\nHost: a\r\nX-Whatever: {SECRET}\r\n\r\n",
    "body": f"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: {len(SECRET)}\r\n\r\n{SECRET}",
    "encoded request id": f"GET /open/x HTTP/1.1\r\nHost: a\r\nX-Request-ID: {ENCODED}\r\n\r\n",
    "encoded parameter": f"GET /open/x?limit={ENCODED} HTTP/1.1\r\nHost: a\r\n\r\n",
    "encoded user agent": f"GET /open/x HTTP/1.1\r\nHost: a\r\nUser-Agent: {ENCODED}\r\n\r\n",
    "bearer in mixed case": f"GET /open/BeArEr%20{SECRET} HTTP/1.1\r\nHost: a\r\n\r\n",
    "header in user agent": f"GET /open/x HTTP/1.1\r\nHost: a\r\nUser-Agent: x-api-key: {SECRET}\r\n\r\n",
    "userinfo": f"GET http://bob:{SECRET}@a/open/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "host": f"GET /open/x HTTP/1.1\r\nHost: bob:{SECRET}@a\r\n\r\n",
    "header name": f"GET /open/x HTTP/1.1\r\nHost: a\r\nX-{SECRET}: \x7f\r\n\r\n",
    "control plane's path": f"GET /v1/{KEY} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "control plane's query": f"GET /v1/audit?{SECRET} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "control plane's host": f"GET /v1/audit HTTP/1.1\r\nHost: {SECRET}\r\n\r\n",
    "health": f"GET /healthz/x?token={SECRET} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "method": f"{SECRET[:20]} /open/x HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.fixture(scope="module")
def planted(
    upstream: StubUpstream, migrated_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    running = GatewayProcess(
        tmp_path_factory.mktemp("planted"),
        configuration=configuration(
            services=[service("stub", upstream.url)],
            routes=[route("open", "/open"), route("private", "/private", access="authenticated")],
        ),
        template=migrated_template,
        environment={"GATEWAY_AUDIT_SINKS": "database,file"},
    )
    yield running
    running.release()


def test_planted_secrets_are_found_nowhere(planted: GatewayProcess) -> None:
    for place, request in PLACES.items():
        exchange(planted.port, request.encode())
        marker = (
            f"GET /open/after HTTP/1.1\r\nHost: a\r\nX-Request-ID: after-{place.replace(' ', '-')}\r\n\r\n"
        )
        exchange(planted.port, marker.encode())
    sink = planted.data_dir / "audit.jsonl"
    last = f"after-{list(PLACES)[-1]}".encode()
    wait_until(lambda: sink.exists() and last in sink.read_bytes(), "all records shipped", 30)
    assert sink.read_bytes().count(b"after-") == len(PLACES)
    found = {
        str(path.relative_to(planted.data_dir))
        for path in planted.data_dir.rglob("*")
        if path.is_file() and (MARK.lower().encode() in path.read_bytes().lower())
    }
    assert found == set()


def test_planted_secrets_are_not_in_the_log_of_the_process(planted: GatewayProcess) -> None:
    lines = [line for line in planted.log().splitlines() if MARK.lower() in line.lower()]
    assert lines == []
