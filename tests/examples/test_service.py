"""What every example service does alike: health, request id, errors. Each one as a process."""

import asyncio

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from examples.service import build_service

SERVICES = {
    "backtest_engine": "/backtests",
    "orders_service": "/orders",
    "products_service": "/products",
    "users_service": "/users",
}
every_service = pytest.mark.parametrize(("name", "path"), SERVICES.items(), ids=SERVICES)


@pytest.fixture
def client(name: str, request: pytest.FixtureRequest) -> httpx.Client:
    return request.getfixturevalue(name).client


@every_service
def test_health_is_ok(client: httpx.Client, path: str) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@every_service
def test_request_id_comes_back_on_answers_and_errors(client: httpx.Client, path: str) -> None:
    headers = {"X-Request-ID": "call-42"}
    assert client.get(path, headers=headers).headers["x-request-id"] == "call-42"
    missing = client.get(f"{path}/nothing", headers=headers)
    assert missing.headers["x-request-id"] == "call-42"
    assert missing.json()["error"]["request_id"] == "call-42"


@every_service
def test_no_request_id_is_made_up(client: httpx.Client, path: str) -> None:
    assert "x-request-id" not in client.get(path).headers
    assert client.get(f"{path}/nothing").json()["error"]["request_id"] is None


@every_service
def test_unknown_path_is_404_in_json(client: httpx.Client, path: str) -> None:
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@every_service
def test_trailing_slash_is_not_redirected(client: httpx.Client, path: str) -> None:
    assert client.get(f"{path}/").status_code == 404


@every_service
def test_wrong_method_is_405_and_names_the_right_ones(client: httpx.Client, path: str) -> None:
    answer = client.delete(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"


@every_service
@pytest.mark.parametrize("body", ["{", "[]", "7", '{"a":NaN}', "\xff"])
def test_body_that_is_no_json_object_is_400(client: httpx.Client, path: str, body: str) -> None:
    answer = client.post(path, content=body.encode("latin-1"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


@every_service
def test_body_of_more_than_a_mebibyte_is_413(client: httpx.Client, path: str) -> None:
    chunks = (b"[" * 65536 for _ in range(17))
    answer = client.post(path, content=chunks)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_crash_is_a_500_that_shows_nothing_of_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    async def crash(request: Request) -> JSONResponse:
        raise RuntimeError("password is swordfish")

    async def call() -> httpx.Response:
        app = build_service([Route("/crash", crash)])
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.get("/crash")

    answer = asyncio.run(call())
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "swordfish" not in answer.text
    assert "swordfish" in caplog.text
