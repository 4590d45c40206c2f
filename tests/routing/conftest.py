"""Fixtures of the admin's tests."""

from tests.admin_client import admin, operator, superuser

__all__ = ["admin", "operator", "superuser"]
