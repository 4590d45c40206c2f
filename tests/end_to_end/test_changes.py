"""What an administrator changes, the next requests obey, without a restart."""

from collections.abc import Iterator

import pytest

from tests.end_to_end.configuration import ALICE_KEY, configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.end_to_end.raw_client import request_bytes
from tests.end_to_end.stub_upstream import StubUpstream

MODELS = "from accounts.models import *\nfrom routing.models import *\n"


@pytest.fixture(scope="module")
def changing(start_gateway: StartGateway, upstream: StubUpstream) -> Iterator[GatewayProcess]:
    """A gateway whose configuration the tests of this module change."""
    running = start_gateway(
        configuration(
            services=[service("stub", upstream.url)],
            routes=[
                route("open", "/open"),
                route("private", "/private", access="authenticated"),
                route("orders", "/orders", access="granted", asset="orders"),
                route("moved", "/moved", to="stub"),
            ],
        )
    )
    yield running
    running.stop()


def status(gateway: GatewayProcess, path: str, key: str | None = None, method: str = "GET") -> int:
    lines = [f"X-API-Key: {key}"] if key else []
    return gateway.exchange(request_bytes(path, *lines, method=method)).status


def test_new_key_works_and_revoked_key_does_not(changing: GatewayProcess) -> None:
    key = changing.issue_key("bob", "temporary")
    assert status(changing, "/private/x", key) == 200
    changing.execute(
        MODELS + "from accounts.keys import revoke_key\nrevoke_key(ApiKey.objects.get(name='temporary'))"
    )
    assert status(changing, "/private/x", key) == 401


def test_revocation_holds_on_a_connection_that_is_already_open(changing: GatewayProcess) -> None:
    key = changing.issue_key("bob", "kept-alive")
    with changing.connect() as client:
        assert client.request("GET", "/private/x", headers={"X-API-Key": key}).status == 200
        changing.execute(
            MODELS + "from accounts.keys import revoke_key\nrevoke_key(ApiKey.objects.get(name='kept-alive'))"
        )
        assert client.request("GET", "/private/x", headers={"X-API-Key": key}).status == 401


def test_rotated_key_and_its_successor_work_both(changing: GatewayProcess) -> None:
    old = changing.issue_key("bob", "rotated")
    new = changing.execute(
        MODELS + "from accounts.keys import rotate_key\nrotate_key(ApiKey.objects.get(name='rotated')).secret"
    )
    assert (status(changing, "/private/x", old), status(changing, "/private/x", new)) == (200, 200)


def test_grant_given_and_taken(changing: GatewayProcess) -> None:
    key = changing.issue_key("bob", "granted")
    assert status(changing, "/orders/x", key) == 403
    changing.execute(
        MODELS + "Grant.objects.create(principal=Principal.objects.get(name='bob'),"
        " asset=Asset.objects.get(name='orders'), actions=['read'])"
    )
    assert status(changing, "/orders/x", key) == 200
    assert status(changing, "/orders/x", key, method="POST") == 403
    changing.execute(MODELS + "Grant.objects.get(principal__name='bob').delete()")
    assert status(changing, "/orders/x", key) == 403


def test_grant_reaches_the_members_of_a_group(changing: GatewayProcess) -> None:
    key = changing.issue_key("bob", "member")
    changing.execute(
        MODELS + "crew = Principal.objects.create(name='crew', kind='group')\n"
        "team = Principal.objects.create(name='team', kind='group')\n"
        "Membership.objects.create(group=crew, member=team)\n"
        "Membership.objects.create(group=team, member=Principal.objects.get(name='bob'))\n"
        "Grant.objects.create(principal=crew, asset=Asset.objects.get(name='orders'), actions=['*'])"
    )
    assert status(changing, "/orders/x", key, method="DELETE") == 200
    changing.execute(MODELS + "Membership.objects.get(member__name='bob').delete()")
    assert status(changing, "/orders/x", key, method="DELETE") == 403


@pytest.mark.parametrize(
    "fields",
    ["expires_at=timezone.now() - timedelta(hours=1)", "condition='true'"],
    ids=["expired", "conditional"],
)
def test_grant_that_is_over_or_has_a_condition_denies(changing: GatewayProcess, fields: str) -> None:
    key = changing.issue_key("bob", fields.split("=")[0])
    changing.execute(
        MODELS + "from datetime import timedelta\nfrom django.utils import timezone\n"
        "Grant.objects.create(principal=Principal.objects.get(name='bob'),"
        f" asset=Asset.objects.get(name='orders'), actions=['*'], {fields})"
    )
    assert status(changing, "/orders/x", key) == 403
    changing.execute(MODELS + "Grant.objects.filter(principal__name='bob').delete()")


def test_disabled_principal_is_refused_and_enabled_again(changing: GatewayProcess) -> None:
    enable = MODELS + "alice = Principal.objects.get(name='alice')\nalice.is_active = {}\nalice.save()"
    changing.execute(enable.format(False))
    assert status(changing, "/private/x", ALICE_KEY) == 401
    changing.execute(enable.format(True))
    assert status(changing, "/private/x", ALICE_KEY) == 200


def test_route_closed_opened_and_disabled(changing: GatewayProcess) -> None:
    edit = MODELS + "route = Route.objects.get(name='open')\nroute.{} = {!r}\nroute.save()"
    changing.execute(edit.format("access", "authenticated"))
    assert status(changing, "/open/x") == 401
    changing.execute(edit.format("access", "public"))
    assert status(changing, "/open/x") == 200
    changing.execute(edit.format("enabled", False))
    assert status(changing, "/open/x") == 404
    changing.execute(edit.format("enabled", True))
    assert status(changing, "/open/x") == 200


def test_longer_path_takes_over_from_a_shorter_one(
    changing: GatewayProcess, upstream: StubUpstream, name: str
) -> None:
    assert status(changing, f"/open/{name}") == 200
    changing.execute(
        MODELS + "Route.objects.create(name=name, path=f'/open/{name}',"
        " service=Service.objects.get(name='stub'), access='authenticated')",
        name=name,
    )
    assert status(changing, f"/open/{name}/below") == 401
    assert status(changing, f"/open/{name}x") == 200
    changing.execute(MODELS + "Route.objects.get(name=name).delete()", name=name)
    assert status(changing, f"/open/{name}/below") == 200


def test_service_moves_to_another_target(changing: GatewayProcess, name: str) -> None:
    elsewhere = StubUpstream()
    changing.execute(
        MODELS + "service = Service.objects.create(name=name)\n"
        "Target.objects.create(service=service, url=url)\n"
        "route = Route.objects.get(name='moved')\nroute.service = service\nroute.save()",
        name=name,
        url=elsewhere.url,
    )
    assert status(changing, f"/moved/{name}") == 200
    assert len(elsewhere.to(f"/moved/{name}")) == 1
    elsewhere.stop()
    assert status(changing, f"/moved/{name}") == 502


def test_deleted_principal_takes_its_keys_along(changing: GatewayProcess) -> None:
    changing.execute(MODELS + "Principal.objects.create_user('leaver')")
    key = changing.issue_key("leaver")
    assert status(changing, "/private/x", key) == 200
    changing.execute(MODELS + "Principal.objects.get(name='leaver').delete()")
    assert status(changing, "/private/x", key) == 401


def test_target_that_leads_back_to_the_gateway_is_refused(changing: GatewayProcess, name: str) -> None:
    service_name = f"loop-{name}"
    changing.apply(
        configuration(
            services=[service(service_name, changing.url)],
            routes=[route(service_name, f"/loop-{name}", to=service_name)],
        )
    )
    changing.wait_until_current()
    answer = changing.request("GET", f"/loop-{name}")
    assert (answer.status, answer.error_code) == (502, "upstream_unreachable")
    assert "this gateway itself" in changing.wait_for_audit(path=f"/loop-{name}")["body"]
