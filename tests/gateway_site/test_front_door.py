"""What the front door does by itself: requests that the server could not read, without a data plane."""

import asyncio
import json
from typing import Any

import pytest

from gateway_site.asgi import FrontDoor
from routing.pipeline.errors import BadHandshake


@pytest.mark.parametrize("kind, prefix", [("http", "http"), ("websocket", "websocket.http")])
def test_control_plane_alone_refuses_what_the_server_could_not_read(kind: str, prefix: str) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is read of it")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": kind,
        "raw_path": b"/admin/audit/tail/ws",
        "headers": [],
        "problem": BadHandshake("no key"),
    }
    asyncio.run(FrontDoor("control")(scope, receive, send))
    assert [message["type"] for message in sent] == [f"{prefix}.response.start", f"{prefix}.response.body"]
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["error"]["code"] == "bad_handshake"
