"""What a route's row says about its WebSockets."""

from routing.relay.options import DEFAULT_PING_INTERVAL, WebSocketOptions, compile_options


def test_row_from_before_the_columns_existed_has_the_defaults() -> None:
    assert compile_options({}) == WebSocketOptions()


def test_zero_interval_means_no_pings_and_none_the_default() -> None:
    assert compile_options({"websocket_ping_interval": 0}).ping_interval is None
    assert compile_options({}).ping_interval == DEFAULT_PING_INTERVAL


def test_origins_compare_in_lower_case() -> None:
    row = {"websocket_allowed_origins": ["https://App.Example.com"]}
    assert compile_options(row).allowed_origins == {"https://app.example.com"}
