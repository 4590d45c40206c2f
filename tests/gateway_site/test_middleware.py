"""Headers and cookies of the control plane."""

import pytest
from django.conf import settings
from django.test import Client


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/login/", "/admin/", "/admin/nowhere/"])
def test_every_answer_of_the_admin_has_a_policy_of_its_own(path: str) -> None:
    response = Client().get(path)
    policy = dict(part.split(" ", 1) for part in response["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["script-src"] == "'self' 'unsafe-eval'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["object-src"] == policy["base-uri"] == "'none'"
    assert response["Permissions-Policy"] == "geolocation=(), microphone=(), camera=()"


@pytest.mark.django_db
def test_pages_of_the_admin_are_not_kept_by_a_cache() -> None:
    assert "no-store" in Client().get("/admin/login/")["Cache-Control"]
    assert "no-store" in Client().get("/admin/")["Cache-Control"]


def test_no_cookie_leaves_the_admin() -> None:
    assert (settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_PATH) == ("gatehouse_session", "/admin")
    assert (settings.CSRF_COOKIE_NAME, settings.CSRF_COOKIE_PATH) == ("gatehouse_csrf", "/admin")
    # The default storage writes a cookie of its own, with the path /.
    assert settings.MESSAGE_STORAGE.endswith("session.SessionStorage")
