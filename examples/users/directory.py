"""What a user is, how one is read from JSON, and the people the directory starts with."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from examples.fields import Fields

DEPARTMENTS = ("finance", "lab", "platform", "research", "sales")
FIELD_NAMES = ("username", "name", "email", "department", "active")
USERNAME = re.compile(r"[a-z][a-z0-9._-]{1,31}\Z")
# Only what makes an address usable; whether it exists is for a mail server to say.
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+\Z")


@dataclass(frozen=True, slots=True)
class User:
    id: int
    username: str
    name: str
    email: str
    department: str
    active: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def mentions(self, words: str) -> bool:
        """Whether every word stands in the name, the username or the address, in any case."""
        text = f"{self.name} {self.username} {self.email}".casefold()
        return all(word in text for word in words.casefold().split())


BLANK = User(id=0, username="", name="", email="", department="", active=True)


def read_user(values: dict[str, Any], user_id: int) -> User:
    """Read a whole user; everything but `active` is required. Raises InvalidFields."""
    return _read(values, {**dict.fromkeys(FIELD_NAMES), "active": True}, replace(BLANK, id=user_id))


def change_user(values: dict[str, Any], user: User) -> User:
    """Return the user with the given fields changed. Raises InvalidFields."""
    return _read(values, asdict(user), user)


def _read(values: dict[str, Any], defaults: dict[str, Any], user: User) -> User:
    fields = Fields(values, FIELD_NAMES)
    changed = replace(
        user,
        username=fields.text("username", defaults["username"], longest=32),
        name=fields.text("name", defaults["name"], longest=120),
        email=fields.text("email", defaults["email"], longest=254),
        department=fields.choice("department", defaults["department"], DEPARTMENTS),
        active=fields.boolean("active", defaults["active"]),
    )
    if not USERNAME.match(changed.username):
        fields.reject("username", "must be 2 to 32 of a-z, 0-9, dot, dash and underscore, a letter first")
    if not EMAIL.match(changed.email):
        fields.reject("email", "must be an address like name@example.com")
    fields.check()
    return changed


SEED = tuple(
    User(number, username, name, f"{username}@example.com", department, active)
    for number, (username, name, department, active) in enumerate(
        [
            ("alice", "Alice Brandt", "lab", True),
            ("bob", "Bob Keane", "research", True),
            ("carla", "Carla Moreira", "sales", True),
            ("dag", "Dag Solheim", "platform", True),
            ("elena", "Elena Zanetti", "finance", True),
            ("florian", "Florian Huber", "lab", True),
            ("grace", "Grace Okafor", "research", True),
            ("henrik", "Henrik Lund", "sales", False),
        ],
        start=1,
    )
)
