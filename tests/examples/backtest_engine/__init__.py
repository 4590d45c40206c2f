"""Tests of the backtest engine: its arithmetic, its runs, its streams and its page."""
