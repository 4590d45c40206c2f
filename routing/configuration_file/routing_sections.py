"""Plan the settings, services with their targets, and routes with their limits and header rules."""

from collections.abc import Callable
from typing import Any

from routing.configuration_file import rows
from routing.configuration_file.changes import Action, Link, Update, differences
from routing.configuration_file.section import SectionPlanner, leave_alone
from routing.configuration_file.shapes import Entry
from routing.models import HeaderRule, RateLimit, Route, Service, Target


class RoutingPlanner(SectionPlanner):
    def plan_all(self, roles: dict[str, Any], assets: dict[str, Any]) -> None:
        self.roles = roles
        self.assets = assets
        self.services: dict[str, Any] = dict(self.current.services)
        self.plan_settings()
        self.plan_services()
        self.plan_routes()

    def plan_settings(self) -> None:
        entry, row = self.document["settings"], self.current.settings
        if entry is None:
            return
        changed = differences(rows.settings_entry(row), entry)
        if not changed:
            return
        self.plan.note(Action.UPDATED, "settings", "", changed)
        columns = rows.settings_columns(entry)
        for column, value in columns.items():
            setattr(row, column, value)
        self.validate(row, entry)
        if row._state.adding:
            self.plan.operations.create(row)
        else:
            self.plan.operations.updated.append(Update(row, [change.key for change in changed]))

    def plan_services(self) -> None:
        for entry in self.document["services"]:
            stored = self.current.services.get(entry["name"])
            targets = self.current.targets.get(stored.pk, []) if stored else []
            held = {target.url: target for target in targets}
            for target in entry["targets"]:
                kept = held.get(target["url"])
                leave_alone("targets", target, kept and rows.target_entry(kept))
            entry["targets"].sort(key=lambda target: str(target["url"]))
            row, changed = self.settle(
                Service,
                "services",
                "service",
                entry,
                stored,
                stored and self.current.service_entry(stored),
                rows.service_columns,
            )
            self.services[entry["name"]] = row
            if any(change.key == "targets" for change in changed):
                self._match_parts(
                    held, {target["url"]: target for target in entry["targets"]}, Target, service=row
                )

    def plan_routes(self) -> None:
        services, assets, roles = (self.known(section) for section in ("services", "assets", "roles"))
        for entry in self.document["routes"]:
            self.check_references(entry, "service", "service", services)
            self.check_references(entry, "asset", "asset", assets)
            self.check_references(entry, "required_roles", "role", roles)
            self._plan_route(entry)

    def _plan_route(self, entry: Entry) -> None:
        stored = self.current.routes.get(entry["name"])
        entry["rate_limits"].sort(key=lambda rate: (str(rate["per"]), rate["window"] or 0))
        row, changed = self.settle(
            Route,
            "routes",
            "route",
            entry,
            stored,
            stored and self.current.route_entry(stored),
            lambda entry: self._route_columns(entry, stored),
        )
        keys = {change.key for change in changed}
        if "required_roles" in keys and (entry["required_roles"] or row.pk):
            roles = [self.roles[name] for name in entry["required_roles"] if name in self.roles]
            self.plan.operations.linked.append(Link(row, "required_roles", roles))
        if "rate_limits" in keys:
            held = {(r.per, r.window): r for r in self.current.rate_limits.get(row.pk, [])}
            wanted = {(rate["per"], rate["window"]): rate for rate in entry["rate_limits"]}
            self._match_parts(held, wanted, RateLimit, route=row)
        if "headers" in keys:
            self._plan_headers(entry, row)

    def _route_columns(self, entry: Entry, stored: Route | None) -> rows.Entries:
        if stored is not None:
            # Comparing a reference would otherwise read it from the database, row by row.
            before = self.current.route_entry(stored)
            stored.service = self.current.services[before["service"]]
            stored.asset = before["asset"] and self.current.assets[before["asset"]]
        columns = rows.route_columns(entry)
        if (service := self.services.get(entry["service"])) is not None:
            columns["service"] = service
        return {**columns, "asset": self.assets.get(entry["asset"])}

    def _match_parts(
        self, held: dict[Any, Any], wanted: dict[Any, Entry], model: type[Any], **owner: Any
    ) -> None:
        """Make an object's part rows those of the file: change the matching ones, add and remove the rest."""
        for identity, entry in wanted.items():
            self._settle_part(held.get(identity), entry, dict(entry), model, owner)
        removed = [row for identity, row in held.items() if identity not in wanted]
        self.plan.operations.removed.extend(removed)

    def _settle_part(
        self,
        row: Any,
        entry: Entry,
        columns: dict[str, Any],
        model: type[Any],
        owner: dict[str, Any],
        place: Callable[[str], str] | None = None,
    ) -> None:
        if row is None:
            row = model(**columns, **owner)
            self.plan.operations.create(row)
        else:
            altered = [name for name, value in columns.items() if getattr(row, name) != value]
            if not altered:
                return
            for name in altered:
                setattr(row, name, columns[name])
            self.plan.operations.updated.append(Update(row, altered))
        self.validate(row, entry, place)

    def _plan_headers(self, entry: Entry, route: Route) -> None:
        held = {
            (rule.direction, rule.name.lower()): rule for rule in self.current.header_rules.get(route.pk, [])
        }
        for columns in rows.header_columns(entry["headers"]):
            direction, operation, name = columns["direction"], columns["operation"], columns["name"]
            where = f"headers.{direction}.{operation}" + (f".{name}" if operation == "set" else "")
            stored = held.pop((direction, name.lower()), None)
            self._settle_part(
                stored, entry, columns, HeaderRule, {"route": route}, lambda column, where=where: where
            )
        self.plan.operations.removed.extend(held.values())
