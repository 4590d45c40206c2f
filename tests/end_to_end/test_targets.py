"""Rule 1: one canonical target. What two parsers could read in two ways never reaches an upstream."""

import pytest

from tests.end_to_end.configuration import ALICE_KEY
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import ConnectionEnded, RawClient, request_bytes
from tests.end_to_end.stub_upstream import StubUpstream

REFUSED = {
    "dot-dot": b"/open/../private",
    "dot-dot-at-the-end": b"/open/..",
    "dot": b"/open/./x",
    "dot-at-the-end": b"/open/.",
    "dots-encoded": b"/open/%2e%2e/private",
    "dots-encoded-upper-case": b"/open/%2E%2E/private",
    "dots-half-encoded": b"/open/.%2e/private",
    "dot-encoded": b"/open/%2e/x",
    "dots-encoded-twice": b"/open/%252e%252e/private",
    "dots-before-a-matrix-parameter": b"/open/..;/private",
    "empty-segment": b"/open//x",
    "empty-segment-first": b"//open/x",
    "empty-segment-last": b"/open/x//",
    "backslash": b"/open\\..\\private",
    "backslash-encoded": b"/open/%5c",
    "slash-encoded": b"/open/a%2fb",
    "slash-encoded-upper-case": b"/open/a%2Fb",
    "slash-encoded-twice": b"/open/a%252fb",
    "semicolon-encoded": b"/open/a%3bb",
    "question-mark-encoded": b"/open/a%3fb",
    "hash-encoded": b"/open/a%23b",
    "percent-encoded": b"/open/a%25b",
    "nul-encoded": b"/open/a%00b",
    "line-feed-encoded": b"/open/a%0ab",
    "carriage-return-encoded": b"/open/a%0d%0ab",
    "tab-encoded": b"/open/a%09b",
    "delete-encoded": b"/open/a%7fb",
    "last-control-character-encoded": b"/open/a%1fb",
    "matrix-parameter": b"/open/a;b=1",
    "matrix-parameter-on-the-prefix": b"/open;b=1/a",
    "not-utf-8": b"/open/%ff",
    "overlong-slash": b"/open/%c0%af",
    "surrogate": b"/open/%ed%a0%80",
    "not-utf-8-raw": b"/open/\xff",
    # RFC 3986 has only ASCII: what a client leaves unencoded, each parser would encode in its own way.
    "utf-8-raw": b"/open/\xc3\xa9",
    "fragment": b"/open/x#y",
    "absolute-of-another-host": b"http://other.test/open/x",
    "absolute-with-userinfo": b"http://gateway.test@other.test/open/x",
    "absolute-of-another-scheme": b"ftp://gateway.test/open/x",
    "no-slash": b"open/x",
    "escape-broken": b"/open/%zz",
    "escape-cut-short": b"/open/%2",
    "escape-with-unicode": b"/open/%u002e",
    "asterisk": b"*",
    "authority": b"gateway.test:80",
    "space-encoded-control-in-query": b"/open/a?x=\x7f",
}

# What is sent, and the one string that is matched, recorded and forwarded.
CANONICAL = {
    "plain": (b"/open/{}/a", b"/open/{}/a"),
    "letters-decoded": (b"/open/{}/%61%7a%41", b"/open/{}/azA"),
    "unreserved-decoded": (b"/open/{}/%7e%2d%5f", b"/open/{}/~-_"),
    "hexadecimal-in-upper-case": (b"/open/{}/%e2%82%ac", b"/open/{}/%E2%82%AC"),
    "space": (b"/open/{}/a%20b", b"/open/{}/a%20b"),
    "marks-kept": (b"/open/{}/:@!$&'()*+,=", b"/open/{}/:@!$&'()*+,="),
    "dots-within-a-segment": (b"/open/{}/a..b/...", b"/open/{}/a..b/..."),
    "slash-at-the-end": (b"/open/{}/", b"/open/{}/"),
    "query": (b"/open/{}/a?b=1&c=2", b"/open/{}/a?b=1&c=2"),
    "query-untouched": (
        b"/open/{}/a?u=http%3A%2F%2Fx%2F..&&d=%2e%2E&e",
        b"/open/{}/a?u=http%3A%2F%2Fx%2F..&&d=%2e%2E&e",
    ),
    "question-marks-in-query": (b"/open/{}/a??b?c", b"/open/{}/a??b?c"),
    "slashes-in-query": (b"/open/{}/a?b=//../c", b"/open/{}/a?b=//../c"),
    "absolute-form": (b"http://gateway.test/open/{}/a?b", b"/open/{}/a?b"),
}


@pytest.mark.parametrize("target", REFUSED.values(), ids=REFUSED.keys())
def test_ambiguous_target_is_refused_before_the_upstream(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, target: bytes
) -> None:
    answer = gateway.exchange(request_bytes(target, f"X-Case: {name}-end"))
    assert answer.status == 400
    assert f"{name}-end".encode() not in upstream.received_bytes()


@pytest.mark.parametrize("target", [REFUSED["slash-encoded"], REFUSED["dot-dot"]], ids=["escape", "dots"])
def test_refused_target_gets_the_envelope(gateway: GatewayProcess, target: bytes) -> None:
    answer = gateway.exchange(request_bytes(target))
    assert answer.error_code == "bad_target"


@pytest.mark.parametrize("sent, expected", CANONICAL.values(), ids=CANONICAL.keys())
def test_upstream_gets_the_canonical_target(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, sent: bytes, expected: bytes
) -> None:
    answer = gateway.exchange(request_bytes(sent.replace(b"{}", name.encode())))
    assert answer.status == 200
    wanted = expected.replace(b"{}", name.encode())
    assert [request.target for request in upstream.requests if name.encode() + b"/" in request.target] == [
        wanted
    ]


def test_hash_in_the_target_never_reaches_the_upstream(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    # The ASGI server cuts the target at "#" before the application sees it; refusing would be better still.
    with RawClient(gateway.port) as client:
        client.send(request_bytes(f"/open/{name}/a#/../private"))
        try:
            status = client.read_response().status
        except ConnectionEnded:
            status = 400
    seen = [request.target for request in upstream.requests if name.encode() in request.target]
    assert (status, seen) in [(400, []), (200, [f"/open/{name}/a".encode()])]


@pytest.mark.parametrize(
    "target",
    [b"/%70rivate/{}", b"/privat%65/{}", b"/private/%7B%7D{}"],
    ids=["first-letter", "last-letter", "within"],
)
def test_encoded_path_meets_the_rule_of_the_plain_one(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, target: bytes
) -> None:
    sent = target.replace(b"{}", name.encode())
    assert gateway.exchange(request_bytes(sent)).error_code == "credential_missing"
    assert gateway.exchange(request_bytes(sent, f"X-API-Key: {ALICE_KEY}")).status == 200
    assert [r.target[:9] for r in upstream.requests if name.encode() in r.target] == [b"/private/"]


@pytest.mark.parametrize(
    "target",
    [
        b"/admin/../open/{}",
        b"/%61dmin/{}",
        b"/health/../open/{}",
        b"/v1/..%2fopen/{}",
        b"/static/%2e%2e/open/{}",
    ],
    ids=["admin-dots", "admin-encoded", "health-dots", "v1-encoded-slash", "static-encoded-dots"],
)
def test_no_way_leads_from_one_plane_to_the_other(
    gateway: GatewayProcess, upstream: StubUpstream, name: str, target: bytes
) -> None:
    answer = gateway.exchange(request_bytes(target.replace(b"{}", name.encode()), host="localhost"))
    # 302: Django sends an unknown page of the admin to its login.
    assert answer.status in (302, 400, 404)
    assert name.encode() not in upstream.received_bytes().replace(b"localhost", b"")


def test_paths_are_case_sensitive(gateway: GatewayProcess) -> None:
    assert gateway.request("GET", "/OPEN/x").error_code == "route_not_found"


def test_options_asterisk_is_answered_by_the_gateway_itself(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    answer = gateway.exchange(request_bytes("*", f"X-Case: {name}-end", method="OPTIONS"))
    assert answer.status in (200, 204, 404)
    assert f"{name}-end".encode() not in upstream.received_bytes()


def test_prefix_is_stripped_from_the_canonical_path(
    gateway: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    assert gateway.exchange(request_bytes(f"/%73tripped/{name}/%61?q=1")).status == 200
    assert [r.target for r in upstream.requests if name.encode() in r.target] == [f"/{name}/a?q=1".encode()]
