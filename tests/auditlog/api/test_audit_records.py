"""/v1/audit: who may ask, what is answered, page by page."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from accounts.models import Principal
from auditlog.sinks.database import DatabaseSink
from tests.auditlog.frames import make_frames

pytestmark = pytest.mark.django_db
BEGIN = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
PASSWORD = "a long enough pass phrase"


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture
def staff(client: Client) -> Client:
    admin = Principal(name="auditor", is_staff=True, is_superuser=True)
    admin.set_password(PASSWORD)
    admin.save()
    client.force_login(admin)
    return client


@pytest.fixture
def stored() -> None:
    sink = DatabaseSink()
    sink.deliver(make_frames(120, start=BEGIN, principal="alice", route="orders", path="/a"))
    sink.deliver(
        make_frames(30, start=BEGIN + 1000, principal="bob", decision="grant_missing", status=403, path="/b")
    )


def ask(client: Client, **parameters: Any) -> Any:
    response = client.get("/v1/audit", parameters)
    assert response.status_code == 200, response.content
    return response.json()


@pytest.mark.usefixtures("stored")
def test_pages_cover_every_record_once_newest_first(staff: Client) -> None:
    seen, cursor = [], None
    while True:
        page = ask(staff, limit=40, **({"cursor": cursor} if cursor else {}))
        seen += [record["event_id"] for record in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == 150
    assert seen == sorted(seen, reverse=True)


@pytest.mark.usefixtures("stored")
def test_record_that_comes_between_two_pages_shifts_nothing(staff: Client) -> None:
    first = ask(staff, limit=10)
    DatabaseSink().deliver(make_frames(5, start=BEGIN + 9000))
    second = ask(staff, limit=10, cursor=first["next_cursor"])
    assert first["items"][-1]["sequence"] == second["items"][0]["sequence"] + 1


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({}, 50),
        ({"limit": 100, "principal": "bob"}, 30),
        ({"limit": 100, "status": 403}, 30),
        ({"limit": 100, "decision": "grant_missing"}, 30),
        ({"limit": 100, "route": "orders"}, 100),
        ({"request_id": "request-3"}, 2),
        ({"limit": 100, "since": "2026-03-01T00:16:40Z"}, 30),
        ({"limit": 100, "until": "2026-03-01T00:00:10+00:00"}, 10),
        ({"principal": "nobody"}, 0),
        ({"event": "login_failed"}, 0),
        ({"principal": "bob", "status": 200}, 0),
    ],
)
def test_filters_narrow_the_answer(staff: Client, parameters: dict[str, Any], count: int) -> None:
    assert len(ask(staff, **parameters)["items"]) == count


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"), ("limit", "101"), ("limit", "x"), ("limit", "-1"), ("limit", "9" * 5000),
        ("limit", "0000000011"), ("limit", "0000000019999"),
        ("status", "000000200999999999"), ("request_id", "a\0"), ("principal", "\0"),
        ("cursor", "!!"), ("cursor", "AAAA"), ("since", "yesterday"), ("status", "99"), ("status", "²00"),
        ("principle", "alice"),
    ],
)  # fmt: skip
def test_question_that_makes_no_sense_is_refused_by_name(staff: Client, name: str, value: str) -> None:
    response = staff.get("/v1/audit", {name: value})
    assert response.status_code == 400
    assert name in response.json()["error"]["details"]


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nothing_can_be_written(staff: Client, method: str) -> None:
    assert getattr(staff, method)("/v1/audit").status_code == 405


def test_nobody_is_refused_without_a_credential(client: Client) -> None:
    response = client.get("/v1/audit")
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "credential_missing"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"is_staff": True, "is_superuser": True}, 200),
        ({"is_staff": True, "is_superuser": False}, 403),
        ({"is_staff": False, "is_superuser": True}, 403),
        ({"is_staff": True, "is_superuser": True, "is_active": False}, 401),
    ],
    ids=["may view", "staff without the permission", "not staff", "disabled"],
)
def test_staff_who_may_view_records_alone_are_answered(
    client: Client, fields: dict[str, bool], status: int
) -> None:
    person = Principal(name="person", **fields)
    person.set_password(PASSWORD)
    person.save()
    assert client.get("/v1/audit", **basic("person")).status_code == status


def test_wrong_password_is_refused(client: Client, staff: Client) -> None:
    assert Client().get("/v1/audit", **basic("auditor", "wrong")).status_code == 401
