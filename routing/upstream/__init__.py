"""Connections to upstream targets."""
