"""Change configuration rows at random, the way administrators do: through the models, with commits."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, RestrictedError

from accounts.keys import digest_of, import_key
from accounts.models import ApiKey, Asset, Grant, Membership, Principal, Role
from accounts.revisions import one_revision
from routing.models import GatewaySettings, HeaderRule, RateLimit, Route, Service, Target

REFUSED = (ValidationError, IntegrityError, ProtectedError, RestrictedError)
# Few, so that keys are deleted and imported anew, under another principal too.
SECRETS = [f"imported-secret-number-{number}" for number in range(8)]
DIGESTS = [digest_of(secret) for secret in SECRETS]


class RandomChanges:
    """One administrator's stream of changes, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._serial = 0
        self._ways: list[Callable[[], Any]] = [
            self.new_principal,
            self.change_principal,
            self.set_roles,
            self.change_role,
            self.clear_role,
            self.new_membership,
            self.move_membership,
            self.new_grant,
            self.change_grant,
            self.new_key,
            self.new_key,
            self.change_key,
            self.move_key,
            self.new_asset,
            self.new_service,
            self.change_service,
            self.new_target,
            self.change_target,
            self.new_route,
            self.change_route,
            self.set_required_roles,
            self.new_header_rule,
            self.new_rate_limit,
            self.change_settings,
            self.delete,
            self.delete,
        ]

    def prepare(self) -> None:
        """Rows enough for every way of changing them to find some."""
        with one_revision():
            for way, times in (
                (self.new_principal, 8),
                (self.change_role, 3),
                (self.new_asset, 4),
                (self.new_service, 3),
                (self.new_key, 6),
                (self.new_membership, 6),
                (self.new_grant, 8),
                (self.set_roles, 4),
                (self.new_target, 4),
                (self.new_route, 6),
                (self.set_required_roles, 2),
            ):
                for _ in range(times):
                    self._try(way)

    def one(self) -> None:
        """One change, or none when the rules of the models are against it."""
        self._try(self.random.choice(self._ways))

    @staticmethod
    def _try(way: Callable[[], Any]) -> None:
        try:
            with transaction.atomic():
                way()
        except REFUSED:
            pass

    def several(self, count: int) -> None:
        """Some changes, by and by or as one revision."""
        if self.random.random() < 0.3:
            with one_revision():
                for _ in range(count):
                    self.one()
            return
        for _ in range(count):
            self.one()

    # --- picking ------------------------------------------------------------------------------
    def _name(self) -> str:
        self._serial += 1
        return f"n{self._serial}"

    def _any(self, model: Any, **wanted: Any) -> Any:
        rows = list(model.objects.filter(**wanted).order_by("pk"))
        if not rows:
            raise ValidationError("none there")
        return self.random.choice(rows)

    def _some(self, model: Any) -> list[Any]:
        rows = list(model.objects.order_by("pk"))
        return self.random.sample(rows, min(len(rows), self.random.randint(0, 2)))

    def _moment(self) -> datetime | None:
        days = self.random.choice([None, -10, 10])
        return None if days is None else datetime(2026, 6, 1, tzinfo=UTC) + timedelta(days=days)

    # --- accounts -----------------------------------------------------------------------------
    def new_principal(self) -> None:
        Principal.objects.create(name=self._name(), kind=self.random.choice(["user", "user", "group"]))

    def change_principal(self) -> None:
        row = self._any(Principal)
        row.is_active = self.random.random() < 0.7
        row.attributes = {"level": self.random.randint(1, 3)}
        if self.random.random() < 0.3:
            row.name = self._name()
        row.save()

    def set_roles(self) -> None:
        self._any(Principal).roles.set(self._some(Role))

    def change_role(self) -> None:
        role = Role(name=self._name()) if self.random.random() < 0.3 else self._any(Role)
        role.permissions = self.random.choice([[], ["n1:read"], ["*:read", "n2:*"], ["*:*"]])
        role.save()

    def clear_role(self) -> None:
        role = self._any(Role)
        self.random.choice([role.principals.clear, role.routes.clear, lambda: role.principals.set([])])()

    def new_membership(self) -> None:
        Membership.objects.create(group=self._any(Principal, kind="group"), member=self._any(Principal))

    def move_membership(self) -> None:
        row = self._any(Membership)
        row.member = self._any(Principal)
        row.save()

    def new_grant(self) -> None:
        Grant.objects.create(
            principal=self._any(Principal),
            asset=self._any(Asset),
            actions=self.random.choice([["read"], ["read", "write"], ["*"]]),
            expires_at=self._moment(),
        )

    def change_grant(self) -> None:
        row = self._any(Grant)
        row.principal = self._any(Principal)
        row.actions = ["delete"]
        row.condition = self.random.choice(["", "true"])
        row.save()

    def new_key(self) -> None:
        secret = self.random.choice(SECRETS)
        owner = self._any(Principal, kind="user")
        import_key(owner, self._name(), secret, scopes=[], expires_at=self._moment())

    def change_key(self) -> None:
        row = self._any(ApiKey)
        row.scopes = self.random.choice([[], ["n1:read"]])
        row.allowed_cidrs = self.random.choice([[], ["10.0.0.0/8"]])
        row.revoked_at = self._moment()
        row.save()

    def move_key(self) -> None:
        row = self._any(ApiKey)
        row.principal = self._any(Principal, kind="user")
        row.save()

    def new_asset(self) -> None:
        Asset.objects.create(name=self._name())

    # --- routing ------------------------------------------------------------------------------
    def new_service(self) -> None:
        Service.objects.create(name=self._name())

    def change_service(self) -> None:
        row = self._any(Service)
        row.idle_timeout = float(self.random.randint(1, 100))
        row.retries = self.random.randint(0, 5)
        row.save()

    def new_target(self) -> None:
        Target.objects.create(service=self._any(Service), url=f"http://10.0.0.{self.random.randint(1, 250)}")

    def change_target(self) -> None:
        row = self._any(Target)
        row.enabled = not row.enabled
        row.weight = self.random.randint(1, 5)
        row.service = self._any(Service)
        row.save()

    def new_route(self) -> None:
        Route.objects.create(
            name=self._name(),
            service=self._any(Service),
            asset=self._any(Asset),
            path=f"/p{self.random.randint(1, 20)}",
            methods=self.random.choice([[], ["GET"], ["POST", "PUT"]]),
        )

    def change_route(self) -> None:
        row = self._any(Route)
        row.enabled = self.random.random() < 0.8
        row.access = self.random.choice(["public", "authenticated", "granted"])
        row.priority = self.random.randint(-3, 3)
        row.hosts = self.random.choice([[], ["a.test"], ["*.b.test"]])
        row.strip_prefix = self.random.random() < 0.5
        row.asset = self._any(Asset)
        row.save()

    def set_required_roles(self) -> None:
        self._any(Route).required_roles.set(self._some(Role))

    def new_header_rule(self) -> None:
        HeaderRule.objects.create(
            route=self._any(Route),
            direction=self.random.choice(["request", "response"]),
            operation="set",
            name=self.random.choice(["X-One", "X-Two"]),
            value=str(self.random.randint(1, 9)),
        )

    def new_rate_limit(self) -> None:
        RateLimit.objects.create(route=self._any(Route), limit=self.random.randint(1, 99))

    def change_settings(self) -> None:
        GatewaySettings.objects.update_or_create(
            pk=1,
            defaults={
                "trusted_proxies": self.random.choice([[], ["10.0.0.0/8"]]),
                "cors_origins": self.random.choice([[], ["https://a.test"]]),
            },
        )

    def delete(self) -> None:
        models = [Principal, Role, Membership, Grant, ApiKey, Asset, Service, Target, Route, HeaderRule]
        rows = list(self.random.choice(models).objects.order_by("pk"))
        if rows:
            self.random.choice(rows).delete()
