"""The users service over HTTP: `/users`, `/users/me` and `/users/{id}`."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.errors import Conflict, IdentityMissing
from examples.fields import read_object, read_query
from examples.records import Page, RecordStore
from examples.service import build_service
from examples.users.directory import DEPARTMENTS, SEED, User, change_user, read_user

FILTERS = ("search", "department", "active", *Page.NAMES)


def build_app() -> Starlette:
    """Return the service with the people it starts with."""
    app = build_service(
        [
            Route("/users", UserList),
            # Before {id}, which would take "me" for an id.
            Route("/users/me", who_am_i),
            Route("/users/{id}", UserItem),
        ]
    )
    app.state.users = RecordStore[User]("user", SEED)
    return app


async def who_am_i(request: Request) -> JSONResponse:
    """Answer with the identity that came in the gateway's headers, and this directory's entry for it."""
    user_id = request.headers.get("x-user-id")
    if not user_id:
        raise IdentityMissing()
    name = request.headers.get("x-user-name")
    roles = request.headers.get("x-user-roles", "")
    entries = _users(request).matching(lambda user: user.username == name)
    return JSONResponse(
        {
            "id": user_id,
            "name": name,
            "roles": [role.strip() for role in roles.split(",") if role.strip()],
            "profile": entries[0].to_json() if entries else None,
        }
    )


class UserList(HTTPEndpoint):
    async def get(self, request: Request) -> JSONResponse:
        query = read_query(request, FILTERS)
        page = Page(query)
        words = query.text("search", "", longest=100, shortest=0)
        department = query.choice("department", "", DEPARTMENTS) if "department" in query else None
        active = query.boolean("active", True) if "active" in query else None
        query.check()

        def wanted(user: User) -> bool:
            return (
                user.mentions(words)
                and department in (None, user.department)
                and active in (None, user.active)
            )

        return JSONResponse(page.to_json(_users(request).matching(wanted)))

    async def post(self, request: Request) -> JSONResponse:
        values = await read_object(request)
        user = _users(request).add(lambda new_id: _checked(request, read_user(values, new_id)))
        return JSONResponse(user.to_json(), 201, {"Location": f"/users/{user.id}"})


class UserItem(HTTPEndpoint):
    async def get(self, request: Request) -> JSONResponse:
        return JSONResponse(_user(request).to_json())

    async def patch(self, request: Request) -> JSONResponse:
        values = await read_object(request)
        changed = change_user(values, _user(request))
        return JSONResponse(_users(request).replace(_checked(request, changed)).to_json())

    async def delete(self, request: Request) -> Response:
        _users(request).remove(_user(request))
        return Response(status_code=204)


def _checked(request: Request, user: User) -> User:
    """Return the user if nobody else has that username or address. Raises Conflict."""
    for other in _users(request).matching(lambda other: other.id != user.id):
        if other.username == user.username:
            raise Conflict(f"User {other.id} has the username {user.username} already.")
        if other.email.casefold() == user.email.casefold():
            raise Conflict(f"User {other.id} has the address {user.email} already.")
    return user


def _user(request: Request) -> User:
    return _users(request).get(request.path_params["id"])


def _users(request: Request) -> RecordStore[User]:
    users: Any = request.app.state.users
    assert isinstance(users, RecordStore)
    return users
