"""Signing in with a password: how often somebody may try, and what is recorded of it."""
