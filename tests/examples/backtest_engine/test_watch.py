"""The live page, in a real browser. The gateway's part of the ticket is played by the browser's own routing."""

import re

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.examples.service_process import ServiceProcess


@pytest.fixture
def problems(page: Page) -> list[str]:
    """What the page writes to the console, and the exceptions it throws."""
    seen: list[str] = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    return seen


def open_page(page: Page, service: ServiceProcess, pace: int = 400) -> None:
    page.goto(f"{service.url}/backtests/watch")
    page.get_by_label("Bars per second").fill(str(pace))
    page.get_by_label("Bars", exact=True).fill("200")


def painted(page: Page) -> str:
    """The picture on the canvas."""
    return str(page.locator("canvas").evaluate("canvas => canvas.toDataURL()"))


def test_page_runs_a_backtest_and_shows_it_live(
    page: Page, backtest_engine: ServiceProcess, problems: list[str]
) -> None:
    open_page(page, backtest_engine, pace=100)
    empty = painted(page)
    page.get_by_role("button", name="Run backtest").click()
    expect(page.get_by_role("status")).to_have_text("Running")
    expect(page.get_by_role("status")).to_have_text("Completed")
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    expect(page.locator("#bar")).to_have_text("200")
    run = backtest_engine.client.get("/backtests", params={"limit": 1}).json()["items"][0]["id"]
    results = backtest_engine.client.get(f"/backtests/{run}/results").json()
    expect(page.locator("#equity")).to_have_text(f"{results['equity']:,.2f}")
    expect(page.locator("#trades")).to_have_text(str(results["trade_count"]))
    expect(page.locator("#fills tr")).to_have_count(max(1, results["trade_count"]))
    assert painted(page) != empty
    # A violation of its own content security policy would be among these.
    assert problems == []


def test_stop_cancels_the_run(page: Page, backtest_engine: ServiceProcess) -> None:
    open_page(page, backtest_engine, pace=20)
    page.get_by_role("button", name="Run backtest").click()
    expect(page.get_by_role("status")).to_have_text("Running")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("Stopped")
    expect(page.get_by_role("button", name="Run backtest")).to_be_enabled()


def test_refused_field_is_marked_and_explained(page: Page, backtest_engine: ServiceProcess) -> None:
    open_page(page, backtest_engine)
    page.get_by_label("Fast average").fill("90")
    page.get_by_role("button", name="Run backtest").click()
    expect(page.get_by_role("alert")).to_have_text("fast: fast (90) must be below slow (30)")
    expect(page.get_by_label("Fast average")).to_have_attribute("aria-invalid", "true")


def test_api_key_buys_a_ticket_and_goes_with_every_call(page: Page, backtest_engine: ServiceProcess) -> None:
    calls: list[tuple[str, str | None]] = []

    def give_ticket(route: Route) -> None:
        calls.append((route.request.method, route.request.headers.get("x-api-key")))
        route.fulfill(json={"ticket": "t/1 +"})

    def pass_on(route: Route) -> None:
        calls.append((route.request.method, route.request.headers.get("x-api-key")))
        route.continue_()

    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.route("**/auth/ws-ticket", give_ticket)
    open_page(page, backtest_engine)
    page.route(re.compile(r"/backtests(/bt_.*)?$"), pass_on)
    page.get_by_label("API key").fill("gw_secret")
    page.get_by_role("button", name="Run backtest").click()
    expect(page.get_by_role("status")).to_have_text("Completed")
    expect(page.get_by_role("alert")).to_be_hidden()
    assert calls[:2] == [("POST", "gw_secret"), ("POST", "gw_secret")]
    assert {key for _, key in calls} == {"gw_secret"}
    assert len(sockets) == 1
    assert sockets[0].endswith("/stream?ticket=t%2F1+%2B")
    assert "gw_secret" not in page.url + sockets[0]


def test_refused_key_is_shown_as_the_gateway_words_it(page: Page, backtest_engine: ServiceProcess) -> None:
    refusal = {"error": {"code": "unauthenticated", "message": "This key is not known.", "details": {}}}
    open_page(page, backtest_engine)
    page.route(re.compile(r"/backtests$"), lambda route: route.fulfill(status=401, json=refusal))
    page.get_by_role("button", name="Run backtest").click()
    expect(page.get_by_role("alert")).to_have_text("This key is not known.")


def test_page_below_a_prefix_calls_below_that_prefix(page: Page, backtest_engine: ServiceProcess) -> None:
    asked: list[str] = []

    def strip_prefix(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(response=route.fetch(url=route.request.url.replace("/engine/v1", "")))

    def end_stream(socket: WebSocketRoute) -> None:
        asked.append(socket.url)
        socket.send('{"id":1,"event":"failed","data":{"error":"stopped here"}}')

    page.route("**/engine/v1/**", strip_prefix)
    page.route_web_socket(re.compile("/engine/v1/"), end_stream)
    page.goto(f"{backtest_engine.url}/engine/v1/backtests/watch")
    page.get_by_role("button", name="Run backtest").click()
    expect(page.get_by_role("alert")).to_have_text("stopped here")
    paths = [url.split("/", 3)[3] for url in asked]
    assert paths[:2] == ["engine/v1/backtests/watch", "engine/v1/backtests"]
    assert re.fullmatch(r"engine/v1/backtests/bt_[0-9a-f]+/stream", paths[2])


def test_stream_that_breaks_is_taken_up_again_after_the_last_event(
    page: Page, backtest_engine: ServiceProcess
) -> None:
    urls: list[str] = []

    def break_once(socket: WebSocketRoute) -> None:
        urls.append(socket.url)
        server = socket.connect_to_server()
        if len(urls) == 1:

            def cut(message: str | bytes) -> None:
                socket.send(message)
                if '"id":3,' in str(message):
                    socket.close(code=1012, reason="going away")

            server.on_message(cut)

    page.route_web_socket(re.compile("/stream"), break_once)
    open_page(page, backtest_engine, pace=200)
    page.get_by_role("button", name="Run backtest").click()
    expect(page.get_by_role("status")).to_have_text("Completed", timeout=15_000)
    assert len(urls) == 2
    assert urls[1].endswith("?after=3")


def test_page_allows_only_its_own_script_and_style(backtest_engine: ServiceProcess) -> None:
    answer = backtest_engine.client.get("/backtests/watch")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"(?:src|href)=\"(?!data:)", answer.text)
