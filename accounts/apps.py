"""Django application `accounts`."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from accounts.models import ApiKey, Asset, Grant, Membership, Principal, Role
        from accounts.revisions import watch

        watch(ApiKey, Asset, Grant, Membership, Principal, Role)
