"""Write planned rows, with their history, inside the caller's transaction. Decides nothing."""

from django.db.models import Model
from simple_history.utils import bulk_create_with_history

from accounts.models import ApiKey, Asset, Grant, Membership, Principal, Role
from accounts.revisions import record_rows
from routing.configuration_file.changes import Operations
from routing.models import HeaderRule, RateLimit, Route, Service, Target

# A row comes after the rows it refers to.
_CREATION_ORDER: tuple[type[Model], ...] = (
    Role,
    Principal,
    Membership,
    ApiKey,
    Asset,
    Grant,
    Service,
    Target,
    Route,
    RateLimit,
    HeaderRule,
)
# A route protects its service and asset, so it goes first.
_DELETION_ORDER: tuple[type[Model], ...] = (Route, Service, Grant, Asset, ApiKey, Principal, Role)
_BATCH = 500


def write_operations(operations: Operations, reason: str) -> None:
    """Write all of it. `reason` is what the history of each row says."""
    for row in operations.removed:
        _delete(row, reason)
    for model in _CREATION_ORDER:
        rows = operations.created.get(model, [])
        if rows:
            bulk_create_with_history(rows, model, batch_size=_BATCH, default_change_reason=reason)
            record_rows(rows)
    for update in operations.updated:
        update.row._change_reason = reason
        # Validated by the plan already, and without a query a rule.
        Model.save(update.row, update_fields=[*update.columns, "updated_at"])
    for link in operations.linked:
        link.row._change_reason = reason
        getattr(link.row, link.field).set(link.targets)
    for model in _DELETION_ORDER:
        for row in operations.pruned:
            if type(row) is model:
                _delete(row, reason)


def _delete(row: Model, reason: str) -> None:
    row._change_reason = reason
    row.delete()
