"""A headless Chromium, driven through playwright."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.services.server_process import require_program

PROGRAMS = ["chromium", "chromium-browser", "google-chrome"]
# Chromium's sandbox refuses to run as root; the other switches keep it from calling home.
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module.

    Not for the session: playwright's event loop runs in this thread for as long as it lives, and
    Django would refuse every ORM call of the tests that follow.
    """
    program = require_program(PROGRAMS, "chromium")
    allowed = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, headless=True, args=SWITCHES)
        yield running
        running.close()
    if allowed is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a fresh profile: no cookies of another test."""
    context = browser.new_context()
    yield context.new_page()
    context.close()
