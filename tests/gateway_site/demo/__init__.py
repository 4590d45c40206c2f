"""Tests of gateway_site/demo; tests/end_to_end/test_demo.py runs the whole of it."""
