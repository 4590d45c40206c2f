"""Fixtures of the tests of the project package."""

from tests.admin_client import admin, superuser

__all__ = ["admin", "superuser"]
