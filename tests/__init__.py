"""Tests mirror the source; tests/end_to_end drives a real server, tests/services starts real engines."""
