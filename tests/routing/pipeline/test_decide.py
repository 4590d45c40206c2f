"""The steps of a decision in their order, and that nothing unknown ever allows."""

import base64
from typing import Any

import pytest

from accounts.directory import fingerprint_of
from accounts.identity import Identity
from routing.pipeline.errors import CredentialInvalid, Refusal
from tests.accounts.directory_rows import digest_of, directory, grant, key, principal, secret_of
from tests.routing.pipeline.world import NOW, World, ask, scope, verdict
from tests.routing.rows import route_row, service_row, snapshot_of

KEY = ("x-api-key", secret_of(1).decode())
BEARER = ("authorization", "Bearer " + secret_of(1).decode())


def world(*routes: dict[str, Any], **options: Any) -> World:
    made = [
        route_row("public", "/public"),
        route_row("members", "/members", access="authenticated"),
        route_row("orders", "/orders", asset="orders"),
        route_row("query-key", "/query-key", access="authenticated", query_api_key=True),
        route_row("slashes", "/slashes", allow_encoded_slashes=True),
        route_row("small", "/small", max_body_bytes=10),
        route_row("reader", "/reader", methods=["GET"]),
        *routes,
    ]
    people = directory(
        principal(1, "alice", grants=[grant(7, "read")]),
        principal(2, "bob", enabled=False),
        key(1, 1),
        key(2, 2),
        key(3, 1, expires_at=NOW - 1),
        key(4, 1, revoked_at=NOW - 1),
        key(5, 1, networks=["10.0.0.0/8"]),
    )
    return World(snapshot_of(*made, **options), people)


VERDICTS: dict[str, Any] = {
    "public": (scope(target="/public"), "allow: access:public"),
    "public-with-a-wrong-key": (
        scope(target="/public", headers=[("x-api-key", "x")]),
        "allow: access:public",
    ),
    "no-route": (scope(target="/nowhere"), "404 route_not_found"),
    "no-route-before-a-wrong-key": (
        scope(target="/nowhere", headers=[("x-api-key", "x")]),
        "404 route_not_found",
    ),
    "method": (scope("POST", "/reader"), "405 method_not_allowed"),
    "nobody": (scope(target="/members"), "401 credential_missing"),
    "somebody": (scope(target="/members", headers=[KEY]), "allow: access:authenticated"),
    "unknown-key": (scope(target="/members", headers=[("x-api-key", "x")]), "401 credential_invalid"),
    "empty-key": (scope(target="/members", headers=[("x-api-key", "")]), "401 credential_invalid"),
    "basic": (
        scope(target="/members", headers=[("authorization", "Basic " + base64.b64encode(b"a:b").decode())]),
        "401 credential_invalid",
    ),
    "unknown-bearer": (
        scope(target="/members", headers=[("authorization", "Bearer x.y.z")]),
        "401 credential_invalid",
    ),
    "granted": (scope(headers=[KEY]), "allow: grant:1"),
    "not-granted": (scope("POST", headers=[KEY]), "403 grant_missing"),
    "not-authenticated-before-not-granted": (scope("POST"), "401 credential_missing"),
    "key-in-the-query": (
        scope(target=f"/query-key?api_key={secret_of(1).decode()}"),
        "allow: access:authenticated",
    ),
    "key-in-the-query-where-it-does-not-count": (
        scope(target=f"/members?api_key={secret_of(1).decode()}"),
        "401 credential_invalid",
    ),
    "encoded-slash": (scope(target="/public/a%2Fb"), "400 bad_target"),
    "encoded-slash-allowed": (scope(target="/slashes/a%2Fb"), "allow: access:public"),
    "large-body": (
        scope("POST", "/small", [("content-length", "11")]),
        "413 body_too_large",
    ),
    "body-of-the-limit": (scope("POST", "/small", [("content-length", "10")]), "allow: access:public"),
    "refused-before-its-body-is-weighed": (
        scope("POST", "/members", [("content-length", "999999999")]),
        "401 credential_missing",
    ),
}


@pytest.mark.parametrize("asked, expected", VERDICTS.values(), ids=VERDICTS.keys())
def test_request_is_decided_by_the_first_step_that_refuses(asked: Any, expected: str) -> None:
    assert verdict(world(), asked) == expected


def test_every_bad_key_gets_the_same_words() -> None:
    answers = set()
    reasons = set()
    for secret in (b"gw_unknown", b"wrong", b"", *(secret_of(n) for n in (2, 3, 4, 5))):
        with pytest.raises(CredentialInvalid) as refused:
            ask(world(), scope(target="/members", headers=[("x-api-key", secret)]))
        error = refused.value
        answers.add((error.status, error.code, error.message, str(error.details), tuple(error.headers)))
        reasons.add(error.reason)
    assert len(answers) == 1
    # The audit record tells them apart.
    assert len(reasons) == 5


def test_without_a_configuration_nothing_passes() -> None:
    empty = World(None, directory())
    assert verdict(empty, scope(target="/public")) == "503 not_ready"


def test_refusal_leaves_its_rule_and_what_it_knows_on_the_exchange() -> None:
    with pytest.raises(Refusal) as refused:
        ask(world(), scope("POST", headers=[KEY]))
    exchange = refused.value.exchange  # type: ignore[attr-defined]
    assert (exchange.rule, exchange.action) == ("refusal:grant_missing", "write")
    assert (exchange.route.name, exchange.identity.name, exchange.revision) == ("orders", "alice", 1)
    assert (exchange.grant_id, refused.value.details) == (None, {"asset": "orders", "action": "write"})


def test_unknown_authenticator_lets_nobody_in() -> None:
    routes = [
        route_row("a", "/a", access="authenticated", authenticators=["jwt"]),
        route_row("b", "/b", access="authenticated", authenticators=["no-such"]),
        route_row("c", "/c", access="authenticated", authenticators=[]),
    ]
    for target in ("/a", "/b", "/c"):
        assert verdict(world(*routes), scope(target=target, headers=[KEY])) == "401 credential_invalid"
        assert verdict(world(*routes), scope(target=target)) == "401 credential_missing"


def test_default_identity_never_makes_a_wrong_key_right() -> None:
    there = world()
    there.default_identity = Identity(0, "dev", "user", permissions=frozenset({"*:*"}))
    assert verdict(there, scope("POST")) == "allow: permission:*:*"
    assert verdict(there, scope("POST", headers=[("x-api-key", "x")])) == "401 credential_invalid"


# --- credentials beyond the index ----------------------------------------------------------


def test_unknown_key_never_asks_the_database() -> None:
    there = world()
    assert (
        verdict(there, scope(target="/members", headers=[("x-api-key", "guess")])) == "401 credential_invalid"
    )
    assert there.lookups == []


def test_key_beyond_the_index_is_loaded_and_decided_anew() -> None:
    there = world()
    there.directory.put_absent([fingerprint_of(digest_of(9))])

    async def load(digest: bytes) -> None:
        there.lookups.append(digest)
        there.directory.put_credential(key(9, 1))

    there.load_credential = load  # type: ignore[method-assign]
    asked = scope(headers=[("x-api-key", secret_of(9))])
    assert verdict(there, asked) == "allow: grant:1"
    assert verdict(there, asked) == "allow: grant:1"
    assert there.lookups == [digest_of(9)]


def test_key_that_the_database_lacks_is_unknown_after_one_look() -> None:
    there = world()
    there.directory.put_absent([fingerprint_of(digest_of(9))])
    asked = scope(headers=[("x-api-key", secret_of(9))])
    assert verdict(there, asked) == "401 credential_invalid"
    assert there.lookups == [digest_of(9)]


def test_decision_after_a_look_up_is_of_one_revision() -> None:
    there = world()
    there.directory.put_absent([fingerprint_of(digest_of(9))])

    async def load(digest: bytes) -> None:
        there.directory.put_credential(key(9, 1))
        # Meanwhile the route was closed.
        there.snapshot = snapshot_of(route_row("orders", "/orders", asset="orders", required_roles=["admin"]))

    there.load_credential = load  # type: ignore[method-assign]
    assert verdict(there, scope(headers=[("x-api-key", secret_of(9))])) == "403 role_missing"


# --- what of Authorization goes upstream ---------------------------------------------------

FORWARDED: dict[str, Any] = {
    "public-foreign": ("/public", "headers", ("authorization", "Basic eDp5"), True),
    "public-token": ("/public", "headers", ("authorization", "Bearer ey.x.y"), True),
    "public-own-key": ("/public", "headers", BEARER, False),
    "public-key-of-our-form": ("/public", "headers", ("authorization", "Bearer gw_a_b"), False),
    "public-key-in-another-scheme": (
        "/public",
        "headers",
        ("authorization", "Token " + secret_of(1).decode()),
        False,
    ),
    "members": ("/members", "headers", BEARER, False),
    "members-forward-own-key": ("/members", "forward", BEARER, False),
}


@pytest.mark.parametrize("target, mode, header, passes", FORWARDED.values(), ids=FORWARDED.keys())
def test_authorization_goes_upstream_only_where_it_is_its_own_affair(
    target: str, mode: str, header: tuple[str, str], passes: bool
) -> None:
    exchange, _ = ask(world(services=[service_row(1, identity=mode)]), scope(target=target, headers=[header]))
    sent = [value for name, value in exchange.headers if name == b"authorization"]
    assert sent == ([header[1].encode()] if passes else [])


# --- CORS ------------------------------------------------------------------------------------

SITE = "https://app.example.com"
ASKS = "access-control-request-method"
PREFLIGHTS: dict[str, Any] = {
    "allowed": ("/members", SITE, "GET", "allow: cors:preflight"),
    "allowed-for-a-guarded-method": ("/orders", SITE, "DELETE", "allow: cors:preflight"),
    "method-not-served": ("/reader", SITE, "POST", "405 method_not_allowed"),
    "no-route": ("/nowhere", SITE, "GET", "404 route_not_found"),
    "other-origin": ("/members", "https://evil.example", "GET", "401 credential_missing"),
    "suffix-of-the-origin": ("/members", SITE + ".evil.example", "GET", "401 credential_missing"),
    "null-origin": ("/members", "null", "GET", "401 credential_missing"),
    "star-as-an-origin": ("/members", "*", "GET", "401 credential_missing"),
    "other-origin-cannot-choose-its-method": (
        "/reader",
        "https://evil.example",
        "GET",
        "405 method_not_allowed",
    ),
}


@pytest.mark.parametrize("target, origin, method, expected", PREFLIGHTS.values(), ids=PREFLIGHTS.keys())
def test_preflight_is_answered_for_allowed_origins_only(
    target: str, origin: str, method: str, expected: str
) -> None:
    there = world(cors_origins=[SITE])
    assert verdict(there, scope("OPTIONS", target, [("origin", origin), (ASKS, method)])) == expected


def test_foreign_preflight_takes_no_laxer_route_of_another_method() -> None:
    routes = [
        route_row("read", "/shop", methods=["GET"]),
        route_row("rest", "/shop", methods=["OPTIONS", "POST"], asset="orders"),
    ]
    there = world(*routes, cors_origins=[SITE])
    asked = scope("OPTIONS", "/shop", [("origin", "https://evil.example"), (ASKS, "GET")])
    assert verdict(there, asked) == "401 credential_missing"


ORIGINS: dict[str, Any] = {
    "named": ("/members", SITE, SITE),
    "named-public": ("/public", SITE, SITE),
    "any-on-public": ("/public", "https://other.example", "https://other.example"),
    "any-on-guarded": ("/members", "https://other.example", None),
    "star-itself": ("/members", "*", None),
    "case-differs": ("/members", SITE.upper(), None),
}


@pytest.mark.parametrize("target, origin, echoed", ORIGINS.values(), ids=ORIGINS.keys())
def test_origin_is_echoed_only_where_it_is_allowed(target: str, origin: str, echoed: str | None) -> None:
    exchange, _ = ask(
        world(cors_origins=[SITE, "*"]), scope(target=target, headers=[KEY, ("origin", origin)])
    )
    assert exchange.cors_origin == (echoed.encode() if echoed else None)
    assert not exchange.preflight


# --- broken rows -----------------------------------------------------------------------------


def broken(name: str, path: str, **fields: Any) -> dict[str, Any]:
    """A row that got past the validators: nobody knows what it allows."""
    return {**route_row(name, path, **fields), "access": "everybody"}


def test_broken_route_answers_503_and_the_others_serve() -> None:
    there = world(broken("bad", "/bad"))
    assert verdict(there, scope(target="/bad/1", headers=[KEY])) == "503 route_unavailable"
    assert verdict(there, scope(target="/public")) == "allow: access:public"
    assert there.snapshot is not None
    assert len(there.snapshot.problems) == 1


TAKEN_OVER: dict[str, Any] = {
    "shorter-path": (broken("bad", "/private/x"), route_row("lax", "/private"), "/private/x", "GET"),
    "lower-priority": (broken("z", "/p", priority=5), route_row("a", "/p"), "/p", "GET"),
    "any-host": (broken("bad", "/p", hosts=["gateway.test"]), route_row("lax", "/p"), "/p", "GET"),
    "parameter": (broken("bad", "/p/x"), route_row("lax", "/p/{id}"), "/p/x", "GET"),
    "priority-unreadable": (
        {**broken("z", "/p"), "priority": None},
        route_row("a", "/p", priority=9),
        "/p",
        "GET",
    ),
    "hosts-unreadable": ({**broken("bad", "/p/x"), "hosts": 5}, route_row("lax", "/p"), "/p/x", "GET"),
    "methods-unreadable": ({**broken("a", "/p"), "methods": 5}, route_row("b", "/p"), "/p", "POST"),
}


@pytest.mark.parametrize("bad, lax, target, method", TAKEN_OVER.values(), ids=TAKEN_OVER.keys())
def test_no_laxer_route_takes_the_place_of_a_broken_one(bad: Any, lax: Any, target: str, method: str) -> None:
    assert verdict(world(bad, lax), scope(method, target)) == "503 route_unavailable"


def test_broken_route_of_one_method_spoils_no_other_method() -> None:
    there = world(broken("a", "/p", methods=["POST"]), route_row("b", "/p", methods=["GET"]))
    assert verdict(there, scope("POST", "/p")) == "503 route_unavailable"
    assert verdict(there, scope("GET", "/p")) == "allow: access:public"
