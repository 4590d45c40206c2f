"""The admin in a real browser, under its content security policy."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Page, expect

from tests.end_to_end.control import PROJECT_DIR
from tests.end_to_end.gateway_process import GatewayProcess
from tests.services.deadline import wait_until

SECRET = re.compile(r"gw_[a-z2-7]+_[\w-]{43}")


class ControlPlane:
    """A gateway with the demonstration's configuration and an administrator."""

    def __init__(self, directory: Path, template: Path) -> None:
        configuration = yaml.safe_load((PROJECT_DIR / "examples" / "gateway_config.yaml").read_text())
        self.gateway = GatewayProcess(directory, configuration, template=template)
        self.url = self.gateway.url
        self.password = self.manage("create_admin").split("Password: ")[1].split()[0]

    def manage(self, *arguments: str) -> str:
        return self.gateway.command(*arguments).stdout


@pytest.fixture(scope="module")
def control_plane(
    tmp_path_factory: pytest.TempPathFactory, migrated_template: Path
) -> Iterator[ControlPlane]:
    running = ControlPlane(tmp_path_factory.mktemp("control"), migrated_template)
    yield running
    running.gateway.stop()


@pytest.fixture
def complaints(page: Page, control_plane: ControlPlane) -> list[str]:
    """What the browser's console complains of, and whatever is fetched from elsewhere."""
    noted: list[str] = []
    page.on("console", lambda message: noted.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: noted.append(str(error)))
    page.on(
        "request",
        lambda request: noted.append(request.url) if not request.url.startswith(control_plane.url) else None,
    )
    return noted


@pytest.fixture
def admin(page: Page, complaints: list[str], control_plane: ControlPlane) -> Page:
    """A page that has signed in."""
    page.goto(f"{control_plane.url}/admin/login/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", control_plane.password)
    page.click("button[type=submit]")
    expect(page).to_have_url(f"{control_plane.url}/admin/")
    return page


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()


def test_the_secret_of_a_new_key_is_shown_once(
    admin: Page, complaints: list[str], control_plane: ControlPlane
) -> None:
    admin.goto(f"{control_plane.url}/admin/accounts/principal/add/")
    admin.fill("#id_name", "carol")
    save(admin)
    admin.locator("a[href='#api_keys']").click()
    admin.get_by_text("Add another API key").click()
    admin.fill("#id_api_keys-0-name", "laptop")
    admin.fill("#id_api_keys-0-allowed_cidrs", "10.0.0.0/8, 192.0.2.0/24")
    save(admin)

    secret = admin.locator("[data-secret]").inner_text()
    assert SECRET.fullmatch(secret)
    admin.get_by_role("button", name="Copy").click()
    expect(admin.get_by_role("button", name=re.compile("Copied|Press Ctrl"))).to_be_visible()

    admin.reload()
    assert secret not in admin.content()
    assert not SECRET.search(admin.content())
    admin.go_back()
    assert secret not in admin.content()
    assert secret not in control_plane.gateway.log()
    assert all(secret not in cookie["value"] for cookie in admin.context.cookies())

    admin.goto(f"{control_plane.url}/admin/accounts/apikey/?q=carol")
    admin.get_by_role("link", name="laptop").click()
    assert secret.split("_")[1] in admin.content()
    assert not SECRET.search(admin.content())
    assert complaints == []


def test_a_rotated_key_is_shown_once_and_a_repeated_rotation_does_nothing(
    admin: Page, complaints: list[str], control_plane: ControlPlane
) -> None:
    control_plane.manage("create_key", "demo", "rotating")
    admin.goto(f"{control_plane.url}/admin/accounts/apikey/?q=rotating")
    admin.get_by_role("link", name="rotating").click()
    admin.get_by_role("link", name="Rotate").click()
    admin.get_by_role("button", name="Rotate this key").click()
    secret = admin.locator("[data-secret]").inner_text()
    assert SECRET.fullmatch(secret)
    admin.reload()
    assert not SECRET.search(admin.content())
    expect(admin.get_by_text("nothing was done")).to_be_visible()
    admin.goto(f"{control_plane.url}/admin/accounts/apikey/?q=rotating")
    assert admin.get_by_role("link", name=re.compile("^rotating")).count() == 2
    assert complaints == []


def test_a_key_is_revoked_after_a_question(
    admin: Page, complaints: list[str], control_plane: ControlPlane
) -> None:
    secret = control_plane.manage("create_key", "demo", "leaked").strip()
    gateway = control_plane.gateway

    def status() -> int:
        return gateway.request("GET", "/orders", headers={"X-API-Key": secret}).status

    # The example services aren't running: a request that is let through ends at the upstream.
    wait_until(lambda: status() == 502, "the key is let through")
    admin.goto(f"{control_plane.url}/admin/accounts/apikey/?q=leaked")
    admin.get_by_role("link", name="leaked").click()
    admin.get_by_role("link", name="Revoke").click()
    expect(admin.get_by_text("It can't be taken back")).to_be_visible()
    admin.get_by_role("button", name="Revoke this key").click()
    expect(admin.get_by_text("every worker refuses it")).to_be_visible()
    wait_until(lambda: status() == 401, "the key is refused", timeout_seconds=2)
    admin.goto(f"{control_plane.url}/admin/accounts/apikey/?state=revoked")
    expect(admin.get_by_role("link", name="leaked")).to_be_visible()
    assert complaints == []


def test_a_changed_route_names_the_administrator_in_its_history(
    admin: Page, complaints: list[str], control_plane: ControlPlane
) -> None:
    admin.goto(f"{control_plane.url}/admin/routing/route/?q=optimizations")
    admin.locator("#result_list").get_by_role("link", name="optimizations").click()
    admin.get_by_label("POST").check()
    admin.fill("#id_hosts", "Api.example.com")
    save(admin)
    expect(admin.get_by_text("'Api.example.com' is not a host name")).to_be_visible()
    admin.fill("#id_hosts", "api.example.com, *.internal")
    save(admin)
    expect(admin.get_by_text("was changed successfully")).to_be_visible()

    admin.locator("#result_list").get_by_role("link", name="optimizations").click()
    expect(admin.locator("#id_hosts")).to_have_value("api.example.com\n*.internal")
    expect(admin.get_by_label("POST")).to_be_checked()
    admin.get_by_role("link", name="History").click()
    newest = admin.locator("#change-history tbody tr").first
    expect(newest).to_contain_text("admin")
    expect(newest).to_contain_text("api.example.com")
    expect(admin.get_by_text("revert")).to_have_count(0)
    assert complaints == []


@pytest.mark.parametrize(
    "page_path",
    [
        "/admin/",
        "/admin/accounts/principal/1/change/",
        "/admin/accounts/role/1/change/",
        "/admin/accounts/asset/add/",
        "/admin/accounts/grant/add/",
        "/admin/accounts/grant/import/",
        "/admin/routing/service/1/change/",
        "/admin/routing/gatewaysettings/",
        "/admin/routing/worker/",
        "/admin/password_change/",
    ],
)
def test_every_kind_of_page_runs_under_the_policy(
    admin: Page, complaints: list[str], control_plane: ControlPlane, page_path: str
) -> None:
    response = admin.goto(control_plane.url + page_path, wait_until="networkidle")
    assert response is not None
    assert response.status == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'self' 'unsafe-eval';" in policy
    assert complaints == []


def test_cookies_of_the_admin_stay_in_the_admin(admin: Page) -> None:
    cookies = {cookie["name"]: cookie["path"] for cookie in admin.context.cookies()}
    assert cookies == {"gatehouse_session": "/admin", "gatehouse_csrf": "/admin"}


def test_who_is_locked_out_reads_why_and_is_unlocked(
    admin: Page, complaints: list[str], control_plane: ControlPlane
) -> None:
    login = f"{control_plane.url}/admin/login/"
    assert admin.context.browser is not None
    stranger = admin.context.browser.new_context().new_page()
    for _ in range(5):
        stranger.goto(login)
        stranger.fill("#id_username", "mallory")
        stranger.fill("#id_password", "a wrong one")
        stranger.click("button[type=submit]")
    expect(stranger.get_by_text("Too many failed sign-ins")).to_be_visible()
    expect(stranger.get_by_text("Try again in 15 minutes.")).to_be_visible()
    stranger.get_by_role("link", name="Back to signing in").click()
    expect(stranger.locator("#id_password")).to_be_visible()

    admin.goto(f"{control_plane.url}/admin/")
    admin.get_by_role("link", name="Sign-in lockouts").click()
    admin.get_by_role("button", name="Unlock").click()
    expect(admin.get_by_text("may sign in from 127.0.0.1 again.")).to_be_visible()
    expect(admin.get_by_text("Nobody is locked out.")).to_be_visible()
    assert complaints == []
    stranger.context.close()


def test_lost_audit_records_are_said_on_the_first_page(
    admin: Page, complaints: list[str], control_plane: ControlPlane
) -> None:
    control_plane.gateway.control.execute(
        "from django.utils import timezone\nfrom routing.models import Worker\nnow = timezone.now()\n"
        "Worker.objects.create(node='lossy', pid=7, role='data', audit_dropped=12, started_at=now, seen_at=now)\n"
        "None"
    )
    admin.goto(f"{control_plane.url}/admin/")
    notice = admin.get_by_role("alert")
    expect(notice).to_contain_text("lossy:7 has dropped 12 since its start")
    notice.get_by_role("link", name="records_dropped").click()
    expect(admin).to_have_url(f"{control_plane.url}/admin/auditlog/auditrecord/?event=records_dropped")
    assert complaints == []
