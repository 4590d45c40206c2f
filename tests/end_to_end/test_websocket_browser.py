"""The backtest engine's live page behind the gateway, in a real browser: key, ticket, stream."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.end_to_end.configuration import ALICE_KEY, BOB_KEY, configuration, route, service
from tests.end_to_end.conftest import StartGateway
from tests.end_to_end.gateway_process import GatewayProcess
from tests.examples.service_process import ServiceProcess


@pytest.fixture(scope="module")
def engine() -> Iterator[ServiceProcess]:
    service = ServiceProcess("backtest_engine")
    yield service
    service.stop()


@pytest.fixture(scope="module")
def engine_gateway(start_gateway: StartGateway, engine: ServiceProcess) -> GatewayProcess:
    """As in the example's own configuration: the page is public, everything it asks for needs a key."""
    return start_gateway(
        configuration(
            [service("backtests", engine.url)],
            [
                route("backtests", "/backtests", "backtests", "granted", asset="orders", websocket=True),
                route("watch", "/backtests/watch", "backtests", methods=["GET"], security_headers=False),
            ],
        )
    )


def test_page_follows_a_backtest_through_the_gateway(
    engine_gateway: GatewayProcess, browser: Browser
) -> None:
    context = browser.new_context()
    page = context.new_page()
    problems: list[str] = []
    urls: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("websocket", lambda socket: urls.append(socket.url))
    page.goto(f"{engine_gateway.url}/backtests/watch")
    page.get_by_label("API key").fill(ALICE_KEY)
    page.get_by_label("Bars per second").fill("200")
    page.get_by_label("Bars", exact=True).fill("200")
    page.get_by_role("button", name="Run backtest").click()
    expect(page.get_by_role("status")).to_have_text("Running")
    expect(page.get_by_role("status")).to_have_text("Completed", timeout=15_000)
    expect(page.locator("#bar")).to_have_text("200")
    context.close()
    assert problems == []
    assert len(urls) == 1
    assert re.search(r"/backtests/bt_[0-9a-f]+/stream\?ticket=", urls[0])
    assert ALICE_KEY not in urls[0]
    stream = next(iter(re.findall(r"/backtests/bt_[0-9a-f]+/stream", urls[0])))
    record = engine_gateway.wait_for_audit(event="ws_disconnected", path=stream)
    assert record["principal"] == "alice"
    log = engine_gateway.wait_for_log(event="ws_disconnected", path=stream)
    assert log["messages_out"] > 5


def test_page_shows_the_refusal_of_a_key_without_a_grant(
    engine_gateway: GatewayProcess, browser: Browser
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{engine_gateway.url}/backtests/watch")
    page.get_by_label("API key").fill(BOB_KEY)
    page.get_by_role("button", name="Run backtest").click()
    expect(page.get_by_role("alert")).to_have_text("This principal may not do this here.")
    context.close()


def test_page_of_another_origin_can_open_no_socket(
    engine_gateway: GatewayProcess, engine: ServiceProcess, browser: Browser
) -> None:
    context = browser.new_context()
    page = context.new_page()
    # Another port is another origin; what is shown there doesn't matter.
    page.goto(f"{engine.url}/health")
    code = page.evaluate(
        "url => new Promise(done => { new WebSocket(url).onclose = event => done(event.code); })",
        f"ws://127.0.0.1:{engine_gateway.port}/backtests/x/stream",
    )
    context.close()
    assert code == 1006
    refused = engine_gateway.wait_for_log(path="/backtests/x/stream", status=403)
    assert refused["code"] == "origin_not_allowed"
