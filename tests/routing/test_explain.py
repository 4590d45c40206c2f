"""`manage.py explain`, as an administrator meets it: each step, why it ended so, and what would help."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.keys import issue_key
from accounts.models import Asset, Grant, Membership, Principal, Role
from routing.models import GatewaySettings, Route, Service, Target

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def configuration() -> None:
    service = Service.objects.create(name="orders")
    Target.objects.create(service=service, url="http://10.0.0.1")
    asset = Asset.objects.create(name="orders")
    fields: dict[str, Any] = {"service": service, "asset": asset}
    Route.objects.create(name="orders", path="/orders", **fields)
    Route.objects.create(name="open", path="/open", access="public", methods=["GET"], **fields)
    Route.objects.create(name="staff", path="/staff", access="authenticated", **fields).required_roles.set(
        [Role.objects.create(name="clerk", permissions=["orders:write"])]
    )
    Role.objects.create(name="boss", permissions=["orders:*"])
    alice = Principal.objects.create(name="alice")
    Principal.objects.create(name="bob")
    Grant.objects.create(principal=alice, asset=asset, actions=["read"])


def explain(*arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    output = io.StringIO()
    try:
        call_command("explain", *arguments, stdout=output)
    except SystemExit as ended:
        return int(ended.code or 0), output.getvalue()
    return 0, output.getvalue()


ALLOWED = {
    "public": (["GET", "/open"], "ALLOWED by access:public"),
    "granted": (["GET", "/orders/7?state=open", "--as", "alice"], "ALLOWED by grant:"),
    "whole-url": (["GET", "http://any.test:8000/orders/7", "--as", "alice"], "ALLOWED by grant:"),
    "head": (["HEAD", "/open"], "ALLOWED by access:public"),
}
REFUSED = {
    "no-grant": (
        ["DELETE", "/orders/7", "--as", "bob"],
        ["REFUSED 403 grant_missing", "Smallest grant: delete on orders for bob.", "Smallest role: boss"],
    ),
    "grant-lacks-an-action": (
        ["POST", "/orders", "--as", "alice"],
        ["403 grant_missing", "Add write to the grant number", "Smallest role: clerk (also: boss"],
    ),
    "role": (["GET", "/staff", "--as", "alice"], ["403 role_missing", "Smallest role: clerk."]),
    "nobody": (["GET", "/orders"], ["401 credential_missing", "Send an API key"]),
    "no-route": (["GET", "/nowhere"], ["404 route_not_found", "Add a route whose path is /nowhere"]),
    "method": (["POST", "/open"], ["405 method_not_allowed", "GET, HEAD"]),
    "target": (["GET", "/orders/../open"], ["400 bad_target", "dot segment"]),
    "encoded-slash": (["GET", "/open/a%2Fb"], ["400 bad_target", "allow encoded slashes"]),
    "wrong-key": (
        ["GET", "/orders", "--header", "X-API-Key: gw_wrong"],
        ["401 credential_invalid", "refused because: unknown key"],
    ),
}


@pytest.mark.parametrize("arguments, line", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_is_allowed_ends_with_0_and_names_the_rule(arguments: list[str], line: str) -> None:
    code, output = explain(*arguments)
    assert (code, line in output) == (0, True), output


@pytest.mark.parametrize("arguments, lines", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_ends_with_1_and_names_the_remedy(arguments: list[str], lines: list[str]) -> None:
    code, output = explain(*arguments)
    assert code == 1
    for line in lines:
        assert line in output, output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["GET", "/orders", "--as", "nobody-known"], "there is no principal nobody-known"),
        (["GET", "/orders", "--key", "unknown"], "there is no API key unknown"),
        (["GET", "/orders", "--header", "no colon"], "is not NAME: VALUE"),
    ],
)
def test_question_that_is_wrong_ends_with_2(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message) as refused:
        explain(*arguments)
    assert refused.value.returncode == 2


def test_key_of_another_principal_is_no_answer() -> None:
    key = issue_key(Principal.objects.get(name="alice"), "laptop").key
    with pytest.raises(CommandError, match="is alice's, not bob's"):
        explain("GET", "/orders", "--as", "bob", "--key", key.public_id)


def test_scopes_networks_and_end_of_a_key_count() -> None:
    alice = Principal.objects.get(name="alice")
    narrow = issue_key(alice, "narrow", scopes=["other:read"], allowed_cidrs=["10.0.0.0/8"]).key
    dead = issue_key(alice, "dead", expires_at=timezone.now() - timedelta(days=1)).key
    asked = ["GET", "/orders", "--key", narrow.public_id]
    code, output = explain(*asked, "--from", "10.1.1.1")
    assert (code, "scope_missing" in output, "Add the scope orders:read" in output) == (1, True, True)
    assert "address not allowed" in explain(*asked, "--from", "192.0.2.1")[1]
    assert "key expired" in explain("GET", "/orders", "--key", dead.public_id)[1]


def test_expired_grant_and_that_of_a_group_are_named() -> None:
    bob = Principal.objects.get(name="bob")
    lab = Principal.objects.create(name="lab", kind="group")
    Membership.objects.create(group=lab, member=bob)
    fields = {"asset": Asset.objects.get(name="orders"), "actions": ["read"]}
    past = timezone.now() - timedelta(days=1)
    grant = Grant.objects.create(principal=lab, expires_at=past, **fields)
    code, output = explain("GET", "/orders", "--as", "bob")
    assert code == 1
    assert f"the grant of the group lab (number {grant.pk}) has expired" in output
    assert f"Extend the grant number {grant.pk} of lab" in output


def test_client_behind_a_trusted_proxy_is_told() -> None:
    GatewaySettings.objects.create(trusted_proxies=["10.0.0.0/8"])
    forwarded = ["--from", "10.0.0.1", "--header", "X-Forwarded-For: 203.0.113.9"]
    assert "the client is 203.0.113.9" in explain("GET", "/open", *forwarded)[1]


def test_no_secret_and_no_markup_of_the_question_is_printed() -> None:
    _, output = explain("GET", "/open?api_key=gw_secret", "--header", "X-A: [bold]x[/bold]")
    question, _, told = output.partition("\n")
    assert "gw_secret" not in told
    assert "canonical target /open " in told
    assert question.startswith("GET /open")
    _, output = explain("GET", "/[red]x[/red]")
    assert "[red]x[/red]" in output


def test_explaining_changes_nothing() -> None:
    from accounts.revisions import current_revision
    from auditlog.models import AuditRecord

    before = current_revision()
    explain("GET", "/orders", "--as", "alice")
    assert (current_revision(), AuditRecord.objects.count()) == (before, 0)
