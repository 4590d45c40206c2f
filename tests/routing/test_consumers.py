"""The adapter where the server can't answer an upgrade with a status: a close code says why."""

import asyncio
from typing import Any

import pytest

from routing.consumers import _answer

START = {"type": "http.response.start", "status": 401, "headers": [(b"x-request-id", b"r")]}


def answered(scope: dict[str, Any], code: int) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(_answer(scope, send, START, b"{}", code, "credential_missing"))
    return sent


@pytest.mark.parametrize("scope", [{}, {"extensions": None}, {"extensions": {}}])
@pytest.mark.parametrize("code", [4401, 4403, 4404, 4429, 4503])
def test_refusal_is_a_close_code_without_the_extension(scope: dict[str, Any], code: int) -> None:
    assert answered(scope, code) == [
        {"type": "websocket.accept"},
        {"type": "websocket.close", "code": code, "reason": "credential_missing"},
    ]


def test_refusal_is_an_answer_with_the_extension() -> None:
    sent = answered({"extensions": {"websocket.http.response": {}}}, 4401)
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert (sent[0]["status"], sent[1]["body"]) == (401, b"{}")
