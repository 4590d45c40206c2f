"""Plan the deletion of objects that the file doesn't name, and refuse what would leave a hole."""

from routing.configuration_file.changes import Action
from routing.configuration_file.section import SectionPlanner

_KINDS = {
    "roles": "role",
    "principals": "principal",
    "assets": "asset",
    "services": "service",
    "routes": "route",
}


class Pruner(SectionPlanner):
    def plan_all(self) -> None:
        for section, kind in _KINDS.items():
            for row in self.pruned(section):
                self.plan.note(Action.DELETED, kind, row.name)
                self.plan.operations.pruned.append(row)
        # Routes that the file gives were checked against what stays; those it doesn't speak of were not.
        if not self.document.gave("routes"):
            self._keep_what_routes_need()

    def _keep_what_routes_need(self) -> None:
        gone = {section: {row.name for row in self.pruned(section)} for section in _KINDS}
        if not any(gone.values()):
            return
        for route in self.current.routes.values():
            entry = self.current.route_entry(route)
            needed = {
                "services": {entry["service"]},
                "assets": {entry["asset"]},
                # Without the role the route would be open to more than before.
                "roles": set(entry["required_roles"]),
            }
            for section, names in needed.items():
                for name in sorted(names & gone[section]):
                    self.plan.problems.append(
                        self.document.problem(
                            section, f"{_KINDS[section]} {name} can't be pruned: route {route.name} needs it"
                        )
                    )
