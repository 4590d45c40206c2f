"""The figures on the admin's first page: what there is, what ends soon, what lags. Reads only."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiKey, Asset, Grant, Membership, Principal, Role
from accounts.revisions import current_revision
from routing.admin import STALE_AFTER, worker_state
from routing.models import GatewaySettings, HeaderRule, RateLimit, Route, Service, Target, Worker

SOON = timedelta(days=30)
LATEST_CHANGES = 12
# Columns that say what a row belongs to, and the model whose name says it.
_ENDS = (
    ("group_id", Principal),
    ("member_id", Principal),
    ("principal_id", Principal),
    ("asset_id", Asset),
    ("route_id", Route),
)
_CHANGE_WORDS = {"+": "created", "~": "changed", "-": "deleted"}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add `cards`, `access`, `workers`, `droppers` and `changes` to the page's context."""
    return {
        **context,
        "title": "Dashboard",
        "cards": [card for card in _cards() if request.user.has_perm(card["permission"])],
        "access": _routes_by_access(),
        "revision": current_revision(),
        "workers": list(_workers()),
        "droppers": list(_droppers()),
        "changes": _latest_changes() if request.user.is_superuser else [],
    }


def _cards() -> list[dict[str, Any]]:
    now = timezone.now()
    soon = Q(expires_at__gt=now, expires_at__lte=now + SOON)
    principals = Principal.objects.aggregate(all=Count("pk"), disabled=Count("pk", filter=Q(is_active=False)))
    keys = ApiKey.objects.filter(revoked_at=None).aggregate(
        live=Count("pk", filter=Q(expires_at=None) | Q(expires_at__gt=now)), soon=Count("pk", filter=soon)
    )
    grants = Grant.objects.aggregate(
        all=Count("pk"), soon=Count("pk", filter=soon), conditional=Count("pk", filter=~Q(condition=""))
    )
    routes = Route.objects.aggregate(all=Count("pk"), off=Count("pk", filter=Q(enabled=False)))
    return [
        _card("Principals", "accounts_principal", principals["all"], f"{principals['disabled']} disabled"),
        _card("Live API keys", "accounts_apikey", keys["live"], f"{keys['soon']} expire within 30 days"),
        _card(
            "Grants",
            "accounts_grant",
            grants["all"],
            f"{grants['soon']} expire within 30 days, {grants['conditional']} conditional",
        ),
        _card("Routes", "routing_route", routes["all"], f"{routes['off']} switched off"),
    ]


def _card(title: str, page: str, figure: int, note: str) -> dict[str, Any]:
    return {
        "title": title,
        "figure": figure,
        "note": note,
        "url": reverse(f"admin:{page}_changelist"),
        "permission": page.replace("_", ".view_"),
    }


def _routes_by_access() -> list[dict[str, Any]]:
    counts = dict(Route.objects.filter(enabled=True).order_by().values_list("access").annotate(Count("pk")))
    total = sum(counts.values()) or 1
    url = reverse("admin:routing_route_changelist")
    return [
        {
            "title": label,
            "count": counts.get(value, 0),
            "percent": round(100 * counts.get(value, 0) / total),
            "url": f"{url}?access__exact={value}",
        }
        for value, label in Route.Access.choices
    ]


def _workers() -> Iterator[dict[str, Any]]:
    newest = current_revision()
    for worker in Worker.objects.all()[:100]:
        yield {"worker": worker, "state": worker_state(worker, newest)}


def _droppers() -> QuerySet[Worker]:
    """The live workers that have lost audit records since they started."""
    return Worker.objects.filter(audit_dropped__gt=0, seen_at__gt=timezone.now() - STALE_AFTER)


def _latest_changes() -> list[dict[str, Any]]:
    """The newest rows of every history, deletions too: who changed what, and when."""
    models = (Principal, Role, Membership, ApiKey, Asset, Grant)
    models += (Service, Target, Route, RateLimit, HeaderRule, GatewaySettings)
    rows = [
        record
        for model in models
        for record in model.history.select_related("history_user").order_by("-history_date")[:LATEST_CHANGES]
    ]
    rows.sort(key=lambda record: record.history_date, reverse=True)
    names = _ends_of(rows[:LATEST_CHANGES])
    return [_change(record, names) for record in rows[:LATEST_CHANGES]]


def _ends_of(records: list[Any]) -> dict[tuple[type[Any], int], str]:
    """Names of the rows that grants, memberships, limits and header rules belong to: a query a model."""
    wanted: dict[type[Any], set[int]] = {}
    for record in records:
        for column, model in _ENDS:
            if (pk := getattr(record, column, None)) is not None:
                wanted.setdefault(model, set()).add(pk)
    return {
        (model, pk): name
        for model, pks in wanted.items()
        for pk, name in model.objects.filter(pk__in=pks).values_list("pk", "name")
    }


def _change(record: Any, names: dict[tuple[type[Any], int], str]) -> dict[str, Any]:
    meta = record.instance_type._meta
    url = ""
    if record.history_type != "-" and meta.model not in (Membership, Target, RateLimit, HeaderRule):
        url = reverse(f"admin:{meta.app_label}_{meta.model_name}_history", args=[record.id])
    return {
        "when": record.history_date,
        "who": record.history_user or record.history_change_reason or "the command line",
        "what": f"{meta.verbose_name} {_name_of(record, names)}",
        "how": _CHANGE_WORDS[record.history_type],
        "url": url,
    }


def _name_of(record: Any, names: dict[tuple[type[Any], int], str]) -> str:
    """The row's own name and those of the rows it belongs to, as far as they are still there."""
    own = getattr(record, "name", "") or getattr(record, "url", "")
    if record.instance_type is Route:
        return own
    ends = [names.get((model, getattr(record, column, None) or 0), "") for column, model in _ENDS]
    return " · ".join(part for part in (own, *ends) if part) or f"no. {record.id}"
