"""Every place where a password is checked counts, locks and answers alike."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.db import transaction
from django.test import Client, RequestFactory
from django.urls import URLPattern, get_resolver
from rest_framework.authentication import BasicAuthentication

from accounts.models import Principal
from auditlog import recorder as audit
from routing.models import GatewaySettings
from tests.admin_client import errors_of

# Real commits: whatever is counted has to outlive the request's transaction.
pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a long enough pass phrase"
LIMIT = settings.GATEWAY_LOGIN_FAILURES
ADDRESS = "192.0.2.1"
Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    seen: Events = []
    monkeypatch.setattr(audit, "record", lambda event, fields, now=None: seen.append((event, fields)))
    yield seen
    assert PASSWORD not in repr(seen)


@pytest.fixture
def root(events: Events) -> Principal:
    person = Principal.objects.create_superuser("root", PASSWORD)
    events.clear()
    return person


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every password that a hash is computed of."""
    seen: list[str] = []
    encode, verify = Argon2PasswordHasher.encode, Argon2PasswordHasher.verify

    def encoding(self: Any, password: str, *rest: Any) -> str:
        seen.append(password)
        return encode(self, password, *rest)

    def verifying(self: Any, password: str, *rest: Any) -> bool:
        seen.append(password)
        return verify(self, password, *rest)

    monkeypatch.setattr(Argon2PasswordHasher, "encode", encoding)
    monkeypatch.setattr(Argon2PasswordHasher, "verify", verifying)
    return seen


def sign_in(name: str, password: str, address: str = ADDRESS, **headers: str) -> Any:
    client = Client(REMOTE_ADDR=address)
    return client.post("/admin/login/", {"username": name, "password": password}, headers=headers or None)


def ask(name: str, password: str, address: str = ADDRESS) -> Any:
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    return Client(REMOTE_ADDR=address).get("/v1/audit", headers={"Authorization": f"Basic {credentials}"})


def lock(name: str, address: str = ADDRESS) -> None:
    for _ in range(LIMIT):
        sign_in(name, "wrong", address)


@pytest.mark.parametrize("way", [sign_in, ask], ids=["admin", "basic"])
@pytest.mark.parametrize("name", ["root", "nobody-at-all"])
def test_name_is_locked_with_its_address(root: Principal, way: Any, name: str, checks: list[str]) -> None:
    statuses = [way(name, "wrong").status_code for _ in range(LIMIT)]
    assert statuses == [200 if way is sign_in else 401] * (LIMIT - 1) + [429]
    assert len(checks) == LIMIT
    for password in ("wrong", PASSWORD):
        assert way(name, password).status_code == 429
    assert len(checks) == LIMIT
    assert way("root", PASSWORD, "192.0.2.2").status_code in (302, 200)


def test_locked_page_is_the_same_for_every_name_and_password(root: Principal) -> None:
    lock("root")
    lock("nobody-at-all")
    answers = [
        sign_in(name, password) for name in ("root", "nobody-at-all") for password in ("wrong", PASSWORD)
    ]
    # Django's theme writes the time of no request into it, and no token stands on a page without a form.
    assert len({errors_of(answer) for answer in answers}) == 1
    assert "Too many failed sign-ins" in errors_of(answers[0])
    assert "Try again in 15 minutes" in errors_of(answers[0])
    assert all(0 < int(answer["Retry-After"]) <= 900 for answer in answers)
    assert not any("gatehouse_session" in answer.cookies for answer in answers)


def test_locked_api_answers_in_the_envelope(root: Principal) -> None:
    lock("root")
    answer = ask("root", PASSWORD)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "login_locked_out"
    assert answer.json()["error"]["request_id"] == answer["X-Request-ID"]
    assert 0 < int(answer["Retry-After"]) <= 900
    assert answer["Cache-Control"] == "no-store"


def test_right_password_before_the_limit_clears_the_count(root: Principal) -> None:
    for _ in range(3):
        assert [sign_in("root", "wrong").status_code for _ in range(LIMIT - 1)] == [200] * (LIMIT - 1)
        assert sign_in("root", PASSWORD).status_code == 302
    assert AccessAttempt.objects.count() == 0


def test_right_password_of_who_may_not_sign_in_there_is_told_from_no_wrong_one(
    root: Principal, events: Events
) -> None:
    Principal.objects.create_user("alice", PASSWORD)
    events.clear()
    for password in ("wrong", PASSWORD):
        answers = [sign_in("alice", password, f"10.0.0.{len(password)}") for _ in range(LIMIT)]
        assert [answer.status_code for answer in answers] == [200] * (LIMIT - 1) + [429]
    assert [event for event, _ in events].count("login_failed") == 2 * LIMIT


@pytest.mark.parametrize("spelling", ["ROOT", " root", "ｒｏｏｔ", "ro\u200bot"])
def test_another_spelling_gives_no_fresh_attempts(root: Principal, spelling: str) -> None:
    lock("root")
    assert sign_in(spelling, "wrong").status_code == 429


def test_nothing_that_was_typed_is_stored(root: Principal) -> None:
    lock("my-password-by-mistake")
    ask("my-password-by-mistake", "another-secret")
    (row,) = AccessAttempt.objects.values()
    assert row["username"].startswith("h:")
    assert (row["post_data"], row["get_data"], row["user_agent"], row["http_accept"]) == ("", "", "", "")
    assert "my-password" not in repr(row)


def test_every_failure_and_lockout_is_recorded(root: Principal, events: Events) -> None:
    for _ in range(LIMIT + 2):
        sign_in("root", "wrong", **{"X-Request-ID": "request-1", "User-Agent": "browser"})
    names = [event for event, _ in events]
    assert names == ["login_failed"] * LIMIT + ["login_locked_out"] * 3
    for _, fields in events:
        assert fields["principal"] == "root"
        assert (fields["request_id"], fields["client_ip"]) == ("request-1", ADDRESS)
        assert fields["user_agent"] == "browser"


def test_unknown_name_is_recorded_under_one_hash(root: Principal, events: Events) -> None:
    for _ in range(LIMIT + 1):
        ask("my-password-by-mistake", "wrong")
    (principal,) = {fields["principal"] for _, fields in events}
    assert principal.startswith("h:")
    assert {event for event, _ in events} == {"login_failed", "login_locked_out"}
    assert AccessAttempt.objects.get().username == principal


def test_spraying_locks_the_address(root: Principal) -> None:
    answers = [ask(f"name-{number}", "wrong").status_code for number in range(LIMIT * 10 + 5)]
    assert answers == [401] * (LIMIT * 10 - 1) + [429] * 6
    assert ask("root", PASSWORD).status_code == 429
    assert ask("root", PASSWORD, "192.0.2.2").status_code == 200


def test_forwarded_address_counts_only_from_a_trusted_proxy(root: Principal) -> None:
    for number in range(LIMIT):
        sign_in("root", "wrong", "10.0.0.1", **{"X-Forwarded-For": f"198.51.100.{number}"})
    assert sign_in("root", "wrong", "10.0.0.1").status_code == 429
    GatewaySettings.objects.update_or_create(pk=1, defaults={"trusted_proxies": ["10.0.0.0/8"]})
    behind = {"X-Forwarded-For": "203.0.113.1, 198.51.100.7"}
    assert [sign_in("root", "wrong", "10.0.0.1", **behind).status_code for _ in range(LIMIT)][-1] == 429
    other = {"X-Forwarded-For": "198.51.100.7, 198.51.100.8"}
    assert sign_in("root", PASSWORD, "10.0.0.1", **other).status_code == 302


@pytest.mark.parametrize("name", ["ro\0ot", "x" * 5000, "", "ü" * 300], ids=["nul", "long", "empty", "bytes"])
def test_strange_name_is_an_unknown_one(root: Principal, name: str) -> None:
    assert ask(name, "wrong").status_code == 401


def test_commands_and_tests_may_check_a_password_without_a_request(root: Principal) -> None:
    for _ in range(LIMIT + 1):
        assert authenticate(username="root", password="wrong") is None
    assert authenticate(username="root", password=PASSWORD) == root
    client = Client()
    assert client.login(username="root", password=PASSWORD)
    client.force_login(root)
    client.logout()


def test_asynchronous_check_is_counted_too(root: Principal) -> None:
    request = RequestFactory(REMOTE_ADDR=ADDRESS).get("/")
    for _ in range(LIMIT):
        assert asyncio.run(aauthenticate(request, username="root", password="wrong")) is None
    assert asyncio.run(aauthenticate(request, username="root", password=PASSWORD)) is None


def test_view_that_checks_passwords_in_a_transaction_fails_at_its_first_request(root: Principal) -> None:
    request = RequestFactory(REMOTE_ADDR=ADDRESS).get("/")
    with transaction.atomic(), pytest.raises(RuntimeError):
        authenticate(request, username="root", password=PASSWORD)


def views(patterns: list[Any]) -> Iterator[URLPattern]:
    for each in patterns:
        if isinstance(each, URLPattern):
            yield each
        else:
            yield from views(each.url_patterns)


def test_every_view_that_takes_a_password_runs_without_a_transaction_around_it() -> None:
    wrong = []
    for each in views(get_resolver().url_patterns):
        classes = getattr(getattr(each.callback, "cls", None), "authentication_classes", [])
        takes_password = any(issubclass(kind, BasicAuthentication) for kind in classes)
        if takes_password and "default" not in getattr(each.callback, "_non_atomic_requests", ()):
            wrong.append(str(each.pattern))
    assert wrong == []
