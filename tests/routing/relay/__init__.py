"""The relay by its parts; see tests/end_to_end/test_websocket*.py for the whole."""
