"""Tests of authenticators."""
