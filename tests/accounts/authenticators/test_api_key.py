"""An API key, in each way it may be carried, and everything that makes it invalid."""

import base64
from ipaddress import ip_address
from typing import Any

import pytest

from accounts.authenticators.api_key import authenticate, is_key
from accounts.digests import digest_secret
from accounts.directory import fingerprint_of
from accounts.identity import CredentialNotLoaded, InvalidCredential, Presented
from routing.pipeline.client_address import folded
from tests.accounts.directory_rows import PEPPER, digest_of, directory, key, principal, secret_of

NOW = 1_000_000.0
GOOD, OTHER = secret_of(1), secret_of(2)
IMPORTED = b"imported-key-of-any-form"


def index(**fields: Any) -> Any:
    return directory(
        principal(1, "alice", enabled=fields.pop("enabled", True)),
        principal(2, "bob"),
        key(1, 1, **fields),
        key(2, 2),
        key(3, 2, digest=digest_secret(IMPORTED, PEPPER)),
    )


CARRIED = {
    "header": (Presented(api_key_header=GOOD), "alice"),
    "bearer": (Presented(authorization=b"Bearer " + GOOD), "alice"),
    "bearer-lower": (Presented(authorization=b"bearer " + GOOD), "alice"),
    "bearer-upper": (Presented(authorization=b"BEARER " + GOOD), "alice"),
    "bearer-spaces": (Presented(authorization=b"Bearer   " + GOOD + b" "), "alice"),
    "query": (Presented(api_key_query=GOOD), "alice"),
    "imported-header": (Presented(api_key_header=IMPORTED), "bob"),
    "imported-bearer": (Presented(authorization=b"Bearer " + IMPORTED), "bob"),
    "header-before-bearer": (Presented(b"Bearer " + OTHER, GOOD), "alice"),
    "header-before-query": (Presented(None, GOOD, OTHER), "alice"),
    "bearer-before-query": (Presented(b"Bearer " + GOOD, None, OTHER), "alice"),
    "other-scheme-leaves-the-query": (Presented(b"Basic eDp5", None, GOOD), "alice"),
    "nothing": (Presented(), None),
    "basic": (Presented(b"Basic " + base64.b64encode(b"x:" + GOOD)), None),
    "digest": (Presented(b"Digest " + GOOD), None),
    "bare": (Presented(GOOD), None),
    "another-token": (Presented(b"Bearer eyJhbGciOi.J9.x"), None),
    "empty-bearer": (Presented(b"Bearer "), None),
}
WRONG = {
    "unknown-header": Presented(api_key_header=b"gw_nobody_0"),
    "unknown-header-of-any-form": Presented(api_key_header=b"whatever"),
    "empty-header": Presented(api_key_header=b""),
    "unknown-bearer": Presented(b"Bearer gw_nobody_0"),
    "unknown-query": Presented(api_key_query=b"x"),
    "wrong-header-never-falls-through-to-bearer": Presented(b"Bearer " + GOOD, b"wrong"),
    "empty-header-never-falls-through": Presented(b"Bearer " + GOOD, b"", GOOD),
    "wrong-header-never-falls-through-to-query": Presented(None, b"wrong", GOOD),
    "unknown-bearer-never-falls-through-to-query": Presented(b"Bearer gw_nobody_0", None, GOOD),
    "almost": Presented(api_key_header=GOOD[:-1]),
    "more": Presented(api_key_header=GOOD + b"x"),
    "case": Presented(api_key_header=GOOD.upper()),
    "digest-itself": Presented(api_key_header=digest_of(1)),
    "digest-in-hex": Presented(api_key_header=digest_of(1).hex().encode()),
}


@pytest.mark.parametrize("presented, name", CARRIED.values(), ids=CARRIED.keys())
def test_key_is_recognised_however_it_is_carried(presented: Presented, name: str | None) -> None:
    identity = authenticate(presented, index(), NOW)
    assert (identity.name if identity else None) == name


@pytest.mark.parametrize("presented", WRONG.values(), ids=WRONG.keys())
def test_wrong_key_is_refused_and_no_other_is_looked_at(presented: Presented) -> None:
    with pytest.raises(InvalidCredential):
        authenticate(presented, index(), NOW)


STATES = {
    "live": ({}, None),
    "expires-later": ({"expires_at": NOW + 0.001}, None),
    "expires-now": ({"expires_at": NOW}, "key expired"),
    "expired": ({"expires_at": NOW - 1}, "key expired"),
    "revoked-now": ({"revoked_at": NOW}, "key revoked"),
    "revoked": ({"revoked_at": NOW - 1}, "key revoked"),
    "will-be-revoked": ({"revoked_at": NOW + 1}, None),
    "revoked-and-expired": ({"revoked_at": 1.0, "expires_at": 1.0}, "key revoked"),
    "disabled": ({"enabled": False}, "principal disabled"),
}


@pytest.mark.parametrize("fields, reason", STATES.values(), ids=STATES.keys())
def test_key_counts_to_the_very_instant_of_its_end(fields: Any, reason: str | None) -> None:
    if reason is None:
        assert authenticate(Presented(api_key_header=GOOD), index(**fields), NOW) is not None
        return
    with pytest.raises(InvalidCredential) as refused:
        authenticate(Presented(api_key_header=GOOD), index(**fields), NOW)
    assert (refused.value.reason, refused.value.public_id, refused.value.principal) == (
        reason,
        "public-1",
        "alice",
    )


NETWORKS = {
    "within": (["192.0.2.0/24"], "192.0.2.7", True),
    "outside": (["192.0.2.0/24"], "192.0.3.7", False),
    "one-of-several": (["10.0.0.0/8", "192.0.2.0/24"], "192.0.2.7", True),
    "mapped-client": (["192.0.2.0/24"], "::ffff:192.0.2.7", True),
    "mapped-client-outside": (["192.0.2.0/24"], "::ffff:192.0.3.7", False),
    "ipv6": (["2001:db8::/32"], "2001:db8::1", True),
    "ipv6-outside": (["2001:db8::/32"], "2001:db9::1", False),
    "other-family": (["192.0.2.0/24"], "2001:db8::1", False),
    "everything-of-one-family": (["0.0.0.0/0"], "2001:db8::1", False),
    "unknown-address": (["0.0.0.0/0", "::/0"], "", False),
    "no-address": (["0.0.0.0/0", "::/0"], "unix:", False),
}


@pytest.mark.parametrize("networks, client, allowed", NETWORKS.values(), ids=NETWORKS.keys())
def test_key_works_from_its_networks_only(networks: list[str], client: str, allowed: bool) -> None:
    presented = Presented(api_key_header=GOOD, client_ip=folded(client))
    if allowed:
        assert authenticate(presented, index(networks=networks), NOW) is not None
        return
    with pytest.raises(InvalidCredential, match="address not allowed"):
        authenticate(presented, index(networks=networks), NOW)


def test_mapped_addresses_are_folded_before_a_key_is_checked() -> None:
    assert ip_address(folded("::ffff:192.0.2.7")) == ip_address("192.0.2.7")


def test_key_beyond_the_index_is_asked_for() -> None:
    there = directory()
    there.put_absent([fingerprint_of(digest_of(1))])
    with pytest.raises(CredentialNotLoaded) as missing:
        authenticate(Presented(api_key_header=GOOD), there, NOW)
    assert missing.value.digest == digest_of(1)


@pytest.mark.parametrize(
    "authorization, held",
    [
        (b"Bearer " + GOOD, True),
        (b"Bearer  " + GOOD, True),
        (b"Token " + GOOD, True),
        (GOOD, True),
        (b"Bearer " + IMPORTED, True),
        (IMPORTED, True),
        (b"Bearer gw_unknown", True),
        (b"Bearer eyJ.x.y", False),
        (b"Basic eDp5", False),
        (b"", False),
    ],
)
def test_key_is_known_for_one_so_that_no_upstream_sees_it(authorization: bytes, held: bool) -> None:
    assert is_key(authorization, index()) is held
