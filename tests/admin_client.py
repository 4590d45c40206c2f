"""Sign in to the admin with Django's test client, and send a page's own form back."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client

from accounts.models import Principal


class _Fields(HTMLParser):
    """The fields of a page's forms and what they hold, as a browser would send them."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[str]] = {}
        self._select = ""
        self._textarea = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        if tag == "input" and name and given.get("type") not in ("submit", "button"):
            ticks = given.get("type") in ("checkbox", "radio")
            if not ticks or "checked" in given:
                self.values.setdefault(name, []).append(given.get("value", "on" if ticks else ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in given:
            self.values.setdefault(self._select, []).append(given.get("value", ""))
        elif tag == "textarea":
            self._textarea = name
            self.values[name] = [""]

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.values[self._textarea][0] += (
                data.removeprefix("\n") if not self.values[self._textarea][0] else data
            )


class AdminClient(Client):
    """A client that has signed in as `principal`."""

    def __init__(self, principal: Principal, **options: Any) -> None:
        super().__init__(**options)
        self.principal = principal
        self.force_login(principal)

    def page(self, path: str) -> str:
        response = self.get(path)
        assert response.status_code == 200, f"{path}: {response.status_code}"
        return response.content.decode()

    def form(self, path: str) -> dict[str, list[str]]:
        """The values of the form on a page, its hidden ones too."""
        parser = _Fields()
        parser.feed(self.page(path))
        return {name: values for name, values in parser.values.items() if "__prefix__" not in name}

    def submit(self, page: str, /, **changes: Any) -> Any:
        """Send the form of a page back with `changes`; None takes a field away."""
        values: dict[str, Any] = {**self.form(page), **changes}
        sent = {name: value for name, value in values.items() if value is not None}
        return self.post(page, sent)


def errors_of(response: Any) -> str:
    """The text of a page without its tags: an error message can be looked for in it."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


@pytest.fixture
def superuser(db: None) -> Principal:
    return Principal.objects.create_superuser("root")


@pytest.fixture
def admin(superuser: Principal) -> AdminClient:
    return AdminClient(superuser)


@pytest.fixture
def operator(db: None) -> AdminClient:
    """Signed in as somebody who may do everything in the admin but is no superuser."""
    from django.contrib.auth.models import Permission

    principal = Principal.objects.create_user("operator", is_staff=True)
    principal.user_permissions.set(Permission.objects.all())
    return AdminClient(principal)
