"""The users service, as a process."""

import itertools
from typing import Any

import httpx
import pytest

_numbers = itertools.count(1)


def user_body(**fields: Any) -> dict[str, Any]:
    username = f"tester{next(_numbers)}"
    body = {
        "username": username,
        "name": "Ida Test",
        "email": f"{username}@example.com",
        "department": "lab",
    }
    return {**body, **fields}


def new_user(users: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = users.post("/users", json=user_body(**fields))
    assert answer.status_code == 201
    return answer.json()


def test_me_is_401_without_identity_headers(users: httpx.Client) -> None:
    answer = users.get("/users/me")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "identity_missing"


def test_me_answers_from_the_identity_headers(users: httpx.Client) -> None:
    headers = {"X-User-Id": "17", "X-User-Name": "alice", "X-User-Roles": "engineer, user"}
    me = users.get("/users/me", headers=headers).json()
    assert (me["id"], me["name"], me["roles"]) == ("17", "alice", ["engineer", "user"])
    assert me["profile"]["email"] == "alice@example.com"


def test_me_without_an_entry_in_the_directory_has_no_profile(users: httpx.Client) -> None:
    me = users.get("/users/me", headers={"X-User-Id": "svc-1"}).json()
    assert me == {"id": "svc-1", "name": None, "roles": [], "profile": None}


def test_users_are_filtered_by_department_activity_and_words(users: httpx.Client) -> None:
    sales = users.get("/users", params={"department": "sales", "active": "false"}).json()
    assert [user["username"] for user in sales["items"]] == ["henrik"]
    found = users.get("/users", params={"search": "okafor GRACE"}).json()
    assert [user["username"] for user in found["items"]] == ["grace"]


def test_new_user_is_active_and_found_again(users: httpx.Client) -> None:
    user = new_user(users)
    assert user["active"] is True
    assert users.get(f"/users/{user['id']}").json() == user


def test_patch_changes_only_what_it_names(users: httpx.Client) -> None:
    before = new_user(users)
    after = users.patch(f"/users/{before['id']}", json={"active": False}).json()
    assert after == {**before, "active": False}


def test_deleted_user_is_gone(users: httpx.Client) -> None:
    path = f"/users/{new_user(users)['id']}"
    assert users.delete(path).status_code == 204
    assert users.get(path).status_code == 404


def test_username_and_address_belong_to_one_user(users: httpx.Client) -> None:
    taken = new_user(users)
    assert users.post("/users", json=user_body(username=taken["username"])).status_code == 409
    assert users.post("/users", json=user_body(email=taken["email"].upper())).status_code == 409
    other = new_user(users)
    assert users.patch(f"/users/{other['id']}", json={"email": taken["email"]}).status_code == 409


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        pytest.param({"username": "Alice"}, "username", id="capital"),
        pytest.param({"username": "a"}, "username", id="one letter"),
        pytest.param({"email": "alice"}, "email", id="no at"),
        pytest.param({"email": "a@b"}, "email", id="no dot"),
        pytest.param({"email": "a b@example.com"}, "email", id="blank in address"),
        pytest.param({"department": "navy"}, "department", id="unknown department"),
        pytest.param({"active": "true"}, "active", id="boolean as text"),
        pytest.param({"admin": True}, "admin", id="unknown field"),
    ],
)
def test_wrong_user_is_refused_naming_the_field(users: httpx.Client, fields: dict, wrong: str) -> None:
    answer = users.post("/users", json=user_body(**fields))
    assert answer.status_code == 422
    assert list(answer.json()["error"]["details"]["fields"]) == [wrong]
