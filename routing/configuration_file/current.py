"""Read every configuration row, a query a table, in the file's own shape. Writes nothing."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from accounts.models import ApiKey, Asset, Grant, Membership, Principal, Role
from routing.configuration_file import rows
from routing.models import GatewaySettings, HeaderRule, RateLimit, Route, Service, Target


class Current:
    """The rows by name, and their entries as the file would give them."""

    def __init__(self) -> None:
        self.settings = GatewaySettings.objects.filter(pk=1).first() or GatewaySettings(pk=1)
        self.roles = _by_name(Role.objects.all())
        self.principals = _by_name(Principal.objects.all())
        self.assets = _by_name(Asset.objects.all())
        self.services = _by_name(Service.objects.all())
        self.routes = _by_name(Route.objects.all())
        self._principal_names = _names(self.principals)
        self._asset_names = _names(self.assets)
        self._service_names = _names(self.services)
        role_names = _names(self.roles)
        self._roles_of = _linked(Principal.roles.through, "principal_id", "role_id", role_names)
        self._roles_required = _linked(Route.required_roles.through, "route_id", "role_id", role_names)
        self._read_parts()

    def _read_parts(self) -> None:
        self.memberships: dict[str, dict[str, Membership]] = defaultdict(dict)
        for membership in Membership.objects.order_by("pk"):
            member = self._principal_names[membership.member_id]
            self.memberships[self._principal_names[membership.group_id]][member] = membership
        self.api_keys: dict[str, dict[str, ApiKey]] = defaultdict(dict)
        for key in ApiKey.objects.order_by("name"):
            self.api_keys[self._principal_names[key.principal_id]][key.name] = key
        self.grants: dict[tuple[str, str], list[Grant]] = defaultdict(list)
        for grant in Grant.objects.order_by("principal__name", "asset__name", "condition"):
            pair = self._principal_names[grant.principal_id], self._asset_names[grant.asset_id]
            self.grants[pair].append(grant)
        self.targets = _grouped(Target.objects.order_by("url"), "service_id")
        self.rate_limits = _grouped(RateLimit.objects.order_by("pk"), "route_id")
        self.header_rules = _grouped(HeaderRule.objects.order_by("pk"), "route_id")

    def role_entry(self, role: Role) -> rows.Entries:
        return rows.role_entry(role)

    def principal_entry(self, principal: Principal) -> rows.Entries:
        roles = self._roles_of[principal.pk]
        return rows.principal_entry(principal, roles, list(self.memberships.get(principal.name, ())))

    def grant_entry(self, grant: Grant) -> rows.Entries:
        return rows.grant_entry(
            grant, self._principal_names[grant.principal_id], self._asset_names[grant.asset_id]
        )

    def service_entry(self, service: Service) -> rows.Entries:
        return rows.service_entry(service, self.targets.get(service.pk, []))

    def route_entry(self, route: Route) -> rows.Entries:
        return rows.route_entry(
            route,
            self._service_names[route.service_id],
            None if route.asset_id is None else self._asset_names[route.asset_id],
            self._roles_required[route.pk],
            self.rate_limits.get(route.pk, []),
            self.header_rules.get(route.pk, []),
        )


def _by_name(queryset: Any) -> dict[str, Any]:
    return {row.name: row for row in queryset.order_by("name")}


def _names(by_name: dict[str, Any]) -> dict[int, str]:
    return {row.pk: name for name, row in by_name.items()}


def _grouped(queryset: Iterable[Any], column: str) -> dict[int, list[Any]]:
    groups: dict[int, list[Any]] = defaultdict(list)
    for row in queryset:
        groups[getattr(row, column)].append(row)
    return groups


def _linked(through: Any, source: str, target: str, names: dict[int, str]) -> dict[int, list[str]]:
    linked: dict[int, list[str]] = defaultdict(list)
    for source_id, target_id in through.objects.values_list(source, target):
        linked[source_id].append(names[target_id])
    return linked
