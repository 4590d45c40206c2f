"""Plan and apply a configuration file: the entry points of this package besides export."""

from accounts.revisions import Revision, one_revision
from routing.configuration_file.accounts_sections import AccountsPlanner
from routing.configuration_file.current import Current
from routing.configuration_file.problems import InvalidConfiguration
from routing.configuration_file.pruning import Pruner
from routing.configuration_file.routing_sections import RoutingPlanner
from routing.configuration_file.section import Plan
from routing.configuration_file.shapes import Entry
from routing.configuration_file.version_1 import read_document
from routing.configuration_file.writing import write_operations
from routing.configuration_file.yaml_values import read_yaml


def plan_file(data: bytes, prune: bool = False) -> Plan:
    """Return what applying `data` would change. Raises InvalidConfiguration with every problem."""
    document, problems = read_document(read_yaml(data))
    if not isinstance(document, Entry):
        raise InvalidConfiguration(problems)
    plan = Plan(document, problems=problems)
    _plan_sections(plan, prune)
    if plan.problems:
        raise InvalidConfiguration(plan.problems)
    return plan


def _plan_sections(plan: Plan, prune: bool) -> None:
    # An entry without a usable name is reported already and can't be compared with anything.
    for section in ("roles", "principals", "assets", "services", "routes"):
        plan.document[section] = [entry for entry in plan.document[section] if entry["name"]]
    current = Current()
    accounts = AccountsPlanner(plan, current, prune)
    accounts.plan_all()
    RoutingPlanner(plan, current, prune).plan_all(accounts.roles, accounts.assets)
    Pruner(plan, current, prune).plan_all()


def apply_file(data: bytes, prune: bool = False, reason: str = "configuration file") -> Plan:
    """Make the rows what `data` says, in one transaction and one revision, or change nothing.

    Raises InvalidConfiguration with every problem. A file that changes nothing bumps no revision.
    """
    with one_revision():
        # Every writer of configuration updates this row: nobody changes what is compared meanwhile.
        Revision.objects.select_for_update().filter(pk=1).first()
        plan = plan_file(data, prune)
        write_operations(plan.operations, reason)
    return plan
