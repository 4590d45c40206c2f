"""Tests of connections to upstream targets."""
