"""/v1/audit asked by programs: which API keys are let in, and what is recorded of the others."""

import base64
import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.end_to_end.configuration import ALICE_KEY, configuration
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.control import PROJECT_DIR
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import RawResponse, request_bytes

STATIC_KEY = "static-key-of-the-environment"
PASSWORD = "a long enough pass phrase"
CHALLENGE = b'Bearer realm="gatehouse"'
PAST = (datetime.now(UTC) - timedelta(days=1)).isoformat()
# Name, fields of the principal, permissions, fields of its key.
PRINCIPALS: dict[str, tuple[dict[str, Any], list[str], dict[str, Any]]] = {
    "auditor": ({"is_staff": True}, ["view_auditrecord"], {}),
    "root": ({"is_staff": True, "is_superuser": True}, [], {}),
    "clerk": ({"is_staff": True}, [], {}),
    "reader": ({}, ["view_auditrecord"], {}),
    "scoped": ({"is_staff": True}, ["view_auditrecord"], {"scopes": ["orders:read"]}),
    "elsewhere": ({"is_staff": True}, ["view_auditrecord"], {"allowed_cidrs": ["192.0.2.0/24"]}),
    "here": ({"is_staff": True}, ["view_auditrecord"], {"allowed_cidrs": ["127.0.0.0/8"]}),
    "expired": ({"is_staff": True}, ["view_auditrecord"], {"expires_at": PAST}),
    "revoked": ({"is_staff": True}, ["view_auditrecord"], {"revoked_at": PAST}),
    "disabled": ({"is_staff": True, "is_active": False}, ["view_auditrecord"], {}),
}
CREATE = """
from django.contrib.auth.models import Permission
from accounts.keys import issue_key
from accounts.models import ApiKey, Principal
secrets = {}
for name, (fields, permissions, key_fields) in principals.items():
    principal = Principal.objects.create_user(name, password, **fields)
    principal.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    issued = issue_key(principal, name)
    ApiKey.objects.filter(pk=issued.key.pk).update(**key_fields)
    secrets[name] = issued.secret
secrets
"""
TRUST = """
from routing.models import GatewaySettings
settings, _ = GatewaySettings.objects.get_or_create(pk=1)
settings.trusted_proxies = proxies
settings.save()
"""
SIGN_IN = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from accounts.models import Principal
principal = Principal.objects.get(name=name)
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(principal.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
session[HASH_SESSION_KEY] = principal.get_session_auth_hash()
session.save()
session.session_key
"""


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway) -> GatewayProcess:
    return start_gateway(configuration([], []), environment={"GATEWAY_API_KEY": STATIC_KEY})


@pytest.fixture(scope="module")
def keys(gateway: GatewayProcess) -> dict[str, str]:
    secrets = gateway.execute(CREATE, principals=PRINCIPALS, password=PASSWORD)
    return {**secrets, "unknown": "gw_nobody_has_this_one", "static": STATIC_KEY, "alice": ALICE_KEY}


def ask(gateway: GatewayProcess, *lines: str, target: str = "/v1/audit", method: str = "GET") -> RawResponse:
    return gateway.exchange(request_bytes(target, *lines, method=method, host="localhost"))


@pytest.mark.parametrize("form", ["X-API-Key: {}", "Authorization: Bearer {}", "authorization: bearer {}"])
@pytest.mark.parametrize("name", ["auditor", "root", "here"])
def test_key_of_staff_with_the_permission_is_answered(
    gateway: GatewayProcess, keys: dict[str, str], name: str, form: str
) -> None:
    answer = ask(gateway, form.format(keys[name]), target="/v1/audit?limit=1")
    assert answer.status == 200, answer.body
    assert set(answer.json()) == {"items", "next_cursor"}


@pytest.mark.parametrize(
    "name, reason",
    {
        "unknown": "unknown key",
        "expired": "key expired",
        "revoked": "key revoked",
        "elsewhere": "address not allowed",
        "disabled": "principal disabled",
    }.items(),
)
def test_key_that_is_not_accepted_learns_nothing_but_the_record_says_why(
    gateway: GatewayProcess, keys: dict[str, str], name: str, reason: str
) -> None:
    answer = ask(gateway, f"X-API-Key: {keys[name]}", f"X-Request-ID: key-{name}")
    error = answer.json()["error"]
    assert (answer.status, answer.header("WWW-Authenticate")) == (401, CHALLENGE)
    assert error == {
        "code": "credential_invalid",
        "message": "The credential was not accepted.",
        "request_id": f"key-{name}",
        "details": {},
    }
    record = gateway.wait_for_audit(request_id=f"key-{name}")
    assert (record["event"], record["status"], record["path"]) == ("api_key_rejected", 401, "/v1/audit")
    assert (record["decision"], record["client_ip"]) == ("credential_invalid", "127.0.0.1")
    assert reason in json.loads(record["body"])["reason"]
    assert keys[name] not in record["body"]


@pytest.mark.parametrize(
    "name, code, who",
    [
        ("clerk", "forbidden", "clerk"),
        ("reader", "forbidden", "reader"),
        ("alice", "forbidden", "alice"),
        ("static", "forbidden", "bootstrap"),
        ("scoped", "scope_missing", "scoped"),
    ],
)
def test_key_that_may_not_see_the_log_is_refused_and_audited(
    gateway: GatewayProcess, keys: dict[str, str], name: str, code: str, who: str
) -> None:
    answer = ask(gateway, f"Authorization: Bearer {keys[name]}", f"X-Request-ID: key-{name}")
    assert (answer.status, answer.error_code) == (403, code)
    record = gateway.wait_for_audit(request_id=f"key-{name}")
    assert (record["event"], record["status"], record["principal"]) == ("api_key_rejected", 403, who)
    assert record["decision"] == code
    assert json.loads(record["body"])["reason"]


@pytest.mark.parametrize("header", ["X-API-Key: {}", "Authorization: Bearer {}"])
def test_two_values_of_a_credential_are_refused(
    gateway: GatewayProcess, keys: dict[str, str], header: str, name: str
) -> None:
    line = header.format(keys["auditor"])
    answer = ask(gateway, line, line, f"X-Request-ID: {name}")
    assert (answer.status, answer.error_code) == (400, "duplicate_header")
    assert gateway.wait_for_audit(request_id=name)["decision"] == "duplicate_header"


@pytest.mark.parametrize("target", ["/v1/audit", "/v1/audit?api_key={}"], ids=["nothing", "in the query"])
def test_without_a_key_in_a_header_one_is_asked_for(
    gateway: GatewayProcess, keys: dict[str, str], target: str, name: str
) -> None:
    answer = ask(gateway, f"X-Request-ID: {name}", target=target.format(keys["auditor"]))
    assert (answer.status, answer.error_code) == (401, "credential_missing")
    assert answer.header("WWW-Authenticate") == CHALLENGE
    assert "X-API-Key" in answer.json()["error"]["message"]
    assert gateway.wait_for_audit(request_id=name)["event"] == "api_key_rejected"


def test_wrong_key_is_not_made_good_by_another_credential(
    gateway: GatewayProcess, keys: dict[str, str]
) -> None:
    basic = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
    assert ask(gateway, f"Authorization: Basic {basic}").status == 200
    assert ask(gateway, f"Authorization: Basic {basic}", "X-API-Key: wrong").status == 401
    wrong = base64.b64encode(b"root:wrong").decode()
    assert ask(gateway, f"Authorization: Basic {wrong}").error_code == "credential_invalid"


def test_revoked_key_is_refused_from_the_next_request_on(gateway: GatewayProcess) -> None:
    key = gateway.execute(
        CREATE, principals={"leaving": ({"is_staff": True}, ["view_auditrecord"], {})}, password=PASSWORD
    )["leaving"]
    assert ask(gateway, f"X-API-Key: {key}").status == 200
    gateway.control.execute(
        "from accounts.keys import revoke_key\nfrom accounts.models import ApiKey\n"
        "revoke_key(ApiKey.objects.get(name='leaving'))"
    )
    assert ask(gateway, f"X-API-Key: {key}").status == 401


def test_use_of_a_key_is_noted(gateway: GatewayProcess, keys: dict[str, str]) -> None:
    ask(gateway, f"X-API-Key: {keys['auditor']}")
    used = gateway.control.execute(
        "from accounts.models import ApiKey\nstr(ApiKey.objects.get(name='auditor').last_used_at)"
    )
    assert datetime.now(UTC) - datetime.fromisoformat(used) < timedelta(minutes=2)


def test_key_is_checked_against_the_address_behind_a_trusted_proxy(
    gateway: GatewayProcess, keys: dict[str, str]
) -> None:
    forwarded = "X-Forwarded-For: 192.0.2.7"
    assert ask(gateway, f"X-API-Key: {keys['elsewhere']}", forwarded).status == 401
    gateway.execute(TRUST, proxies=["127.0.0.1/32"])
    try:
        assert ask(gateway, f"X-API-Key: {keys['elsewhere']}", forwarded).status == 200
        assert ask(gateway, f"X-API-Key: {keys['here']}", forwarded).status == 401
    finally:
        gateway.execute(TRUST, proxies=[])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written_with_a_key(
    gateway: GatewayProcess, keys: dict[str, str], method: str
) -> None:
    answer = ask(gateway, f"X-API-Key: {keys['root']}", method=method)
    assert (answer.status, answer.error_code) == (405, "method_not_allowed")


def test_session_of_staff_is_answered_too_and_writes_nothing_without_its_token(
    gateway: GatewayProcess, keys: dict[str, str]
) -> None:
    cookie = f"Cookie: gatehouse_session={gateway.control.execute(SIGN_IN, name='auditor')}"
    assert ask(gateway, cookie).status == 200
    refused = ask(gateway, cookie, method="POST")
    assert (refused.status, refused.error_code) == (403, "forbidden")
    assert "CSRF" in refused.json()["error"]["message"]


def test_command_of_the_documentation_is_answered(gateway: GatewayProcess, keys: dict[str, str]) -> None:
    document = (PROJECT_DIR / "docs" / "audit.md").read_text()
    command = re.search(r"^\$ (curl .*/v1/audit.*)$", document, re.MULTILINE)
    assert command is not None
    run = subprocess.run(
        ["sh", "-c", command[1].replace("localhost:8000", f"127.0.0.1:{gateway.port}")],
        env={"KEY": keys["auditor"], "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert set(json.loads(run.stdout)) == {"items", "next_cursor"}, run.stderr


def test_id_of_a_refusal_is_the_same_everywhere(gateway: GatewayProcess) -> None:
    answer = ask(gateway)
    request_id = answer.json()["error"]["request_id"]
    assert answer.header("X-Request-ID") == request_id.encode()
    assert gateway.wait_for_audit(request_id=request_id)["path"] == "/v1/audit"
