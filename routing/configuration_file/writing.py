"""Write planned rows, with their history, inside the caller's transaction. Decides nothing."""

from django.db.models import Model
from django.dispatch import Signal
from simple_history.signals import post_create_historical_record
from simple_history.utils import bulk_create_with_history

from accounts.models import ApiKey, Asset, Grant, Membership, Principal, Role
from accounts.revisions import record_rows
from routing.configuration_file.changes import Link, Operations
from routing.models import GatewaySettings, HeaderRule, RateLimit, Route, Service, Target

# A row comes after the rows it refers to.
_CREATION_ORDER: tuple[type[Model], ...] = (
    GatewaySettings,
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

# Sent for each new row with `row`, `field`, `targets` and `reason`: m2m_changed is not, in bulk.
rows_linked = Signal()


def write_operations(operations: Operations, reason: str) -> None:
    """Write all of it. `reason` is what the history of each row says."""
    for row in operations.removed:
        _delete(row, reason)
    for model in _CREATION_ORDER:
        rows = operations.created.get(model, [])
        if rows:
            bulk_create_with_history(rows, model, batch_size=_BATCH, default_change_reason=reason)
            record_rows(rows)
            _announce(model, rows, reason)
    for update in operations.updated:
        update.row._change_reason = reason
        # Validated by the plan already, and without a query a rule.
        Model.save(update.row, update_fields=[*update.columns, "updated_at"])
    _link(operations, reason)
    for model in _DELETION_ORDER:
        for row in operations.pruned:
            if type(row) is model:
                _delete(row, reason)


def _announce(model: type[Model], rows: list[Model], reason: str) -> None:
    """Tell of each new row what simple_history tells of one that is saved, and not of those made in bulk."""
    history = model.history.model
    for row in rows:
        values = {field.attname: getattr(row, field.attname) for field in history.tracked_fields}
        record = history(history_type="+", history_change_reason=reason, **values)
        post_create_historical_record.send(
            history, instance=row, history_instance=record, history_user=None, history_change_reason=reason
        )


def _link(operations: Operations, reason: str) -> None:
    """Set the many-to-many fields: of new rows all at once, of others one by one."""
    fresh = {id(row) for rows in operations.created.values() for row in rows}
    new: dict[tuple[type[Model], str], list[Link]] = {}
    for link in operations.linked:
        if id(link.row) in fresh:
            new.setdefault((type(link.row), link.field), []).append(link)
        else:
            link.row._change_reason = reason
            getattr(link.row, link.field).set(link.targets)
    for (model, field), links in new.items():
        _link_new(model, field, links)
        for link in links:
            rows_linked.send(model, row=link.row, field=field, targets=link.targets, reason=reason)


def _link_new(model: type[Model], field: str, links: list[Link]) -> None:
    """Write the links of new rows, and note them in the history record of each row's creation.

    Through set() a row would take a dozen queries, and a second history record.
    """
    relation = model._meta.get_field(field)
    source, target = f"{relation.m2m_field_name()}_id", f"{relation.m2m_reverse_field_name()}_id"
    through = relation.remote_field.through
    pairs = [through(**{source: link.row.pk, target: other.pk}) for link in links for other in link.targets]
    through.objects.bulk_create(pairs, _BATCH)
    history = model.history.model
    # A key that was used before has an older creation in the history: the newest counts.
    records = dict(
        history.objects.filter(history_type="+").order_by("history_id").values_list("id", "history_id")
    )
    past = history._meta.get_field(f"{history.__name__}_{field}".lower()).related_model
    past.objects.bulk_create(
        [
            past(
                history_id=records[getattr(pair, source)],
                id=pair.pk,
                **{source: getattr(pair, source), target: getattr(pair, target)},
            )
            for pair in pairs
        ],
        _BATCH,
    )


def _delete(row: Model, reason: str) -> None:
    row._change_reason = reason
    row.delete()
