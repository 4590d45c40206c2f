"""The audit log in the admin: read-only, newest first, never counted.

Nothing here can change a record: there is no form, and the permissions to add, change and delete are
refused to everybody.
"""

from functools import lru_cache
from typing import Any

import orjson
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter, TextFilter
from unfold.decorators import action, display
from unfold.paginator import InfinitePaginator as UnfoldPaginator
from unfold.utils import display_for_label

from auditlog.models import AuditRecord, ShipperStatus
from auditlog.query import AuditRecordQuerySet, period_of, records
from auditlog.record import LOG_KEEPING_EVENTS

# Farther back is for the date hierarchy: a page number costs a read of all rows before it.
MOST_PAGES = 200
STORY_RECORDS = 50
TAIL_COLUMNS = ("Time (UTC)", "Event", "Principal", "Decision", "Status", "Method", "Path", "Route", "Client")


class InfinitePaginator(UnfoldPaginator):
    """Previous and next, without a count, to a bounded depth. Unfold's templates know it by its name."""

    @property
    def count(self) -> int:  # type: ignore[override]
        return self.per_page * MOST_PAGES


class ExactFilter(TextFilter):
    """One word, compared as it stands: the form that an index answers."""

    def queryset(self, request: HttpRequest, queryset: AuditRecordQuerySet) -> QuerySet:
        value = (self.value() or "").strip()
        if "\0" in value:
            # No record holds it, and PostgreSQL can't even be asked.
            return queryset.none()
        return self.matching(queryset, value) if value else queryset

    def matching(self, queryset: AuditRecordQuerySet, value: str) -> QuerySet:
        return queryset.filter(**{self.parameter_name: value})


class PrincipalFilter(ExactFilter):
    title, parameter_name = "principal", "principal"

    def matching(self, queryset: AuditRecordQuerySet, value: str) -> QuerySet:
        return queryset.by_principal(value)


class RouteFilter(ExactFilter):
    title, parameter_name = "route", "route"


class DecisionFilter(ExactFilter):
    title, parameter_name = "decision", "decision"


class EventFilter(ExactFilter):
    title, parameter_name = "event", "event"


class RequestFilter(ExactFilter):
    title, parameter_name = "request id", "request_id"


class StatusFilter(DropdownFilter):
    title, parameter_name = "status", "status_class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("2", "2xx"), ("3", "3xx"), ("4", "4xx"), ("5", "5xx")] + [
            (str(status), str(status)) for status in (400, 401, 403, 404, 413, 429, 500, 502, 503, 504)
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        value = self.value() or ""
        if not value.isdecimal():
            return queryset
        if len(value) == 1:
            return queryset.filter(status__gte=int(value) * 100, status__lt=int(value) * 100 + 100)
        return queryset.filter(status=int(value))


class LogKeepingFilter(DropdownFilter):
    """The log's own records prove it; whoever looks for a request doesn't want them between."""

    title, parameter_name = "log keeping", "log_keeping"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("shown", "Shown"), ("only", "Only")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() == "only":
            return queryset.filter(event__in=LOG_KEEPING_EVENTS)
        if self.value() == "shown" or any(name in request.GET for name in ("event", "q", "request_id")):
            return queryset
        return queryset.exclude(event__in=LOG_KEEPING_EVENTS)


class ReadOnlyAdmin(ModelAdmin):
    """Pages without a form."""

    list_fullwidth = True
    list_filter_submit = True
    # Said although there are none: a template that asks in vain for it does so twice a row, dearly.
    list_sections: list[Any] = []
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AuditRecord)
class AuditRecordAdmin(ReadOnlyAdmin):
    list_display = [
        "moment", "event", "principal", "decision_label", "status", "method", "short_path", "route",
        "client_ip",
    ]  # fmt: skip
    list_display_links = ["moment"]
    list_filter = [
        PrincipalFilter, RouteFilter, DecisionFilter, StatusFilter, EventFilter, RequestFilter,
        LogKeepingFilter,
    ]  # fmt: skip
    actions_list = ["watch"]
    search_fields = ["request_id"]
    search_help_text = "Request id, event id, principal or client address"
    date_hierarchy = "time"
    ordering = ["-event_id"]
    sortable_by: list[str] = []
    paginator: type[Paginator] = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50
    fieldsets = [
        ("What happened", {"fields": ["summary"]}),
        ("The request's whole story", {"fields": ["story"]}),
        ("Proof", {"fields": ["node", "chain", "sequence", "hash_text"]}),
    ]
    readonly_fields = ["summary", "story", "node", "chain", "sequence", "hash_text"]

    def get_urls(self) -> list[Any]:
        watch = self.admin_site.admin_view(self.tail_page)
        return [path("tail/", watch, name="auditlog_auditrecord_tail"), *super().get_urls()]

    @action(description="Watch live", icon="play_circle", url_path="watch")
    def watch(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:auditlog_auditrecord_tail"))

    def tail_page(self, request: HttpRequest) -> HttpResponse:
        """The records as they come; the page's script opens the WebSocket of auditlog.consumers."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "title": "Live audit records", "opts": self.opts}
        context["columns"] = TAIL_COLUMNS
        return TemplateResponse(request, "admin/auditlog/tail.html", context)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        since, until = period_of(request.GET)
        # The body is what the detail page is for; a list would read it for nothing.
        return records().in_period(since, until).defer("hash").order_by("-event_id")

    def get_search_results(
        self, request: HttpRequest, queryset: AuditRecordQuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        return (queryset.matching(search_term) if search_term.strip() else queryset), False

    @display(description="time (UTC)")
    def moment(self, record: AuditRecord) -> str:
        return f"{record.time:%Y-%m-%d %H:%M:%S}.{record.time.microsecond // 1000:03d}"

    @display(description="decision")
    def decision_label(self, record: AuditRecord) -> str:
        return _decision_label(record.decision) if record.decision else ""

    @display(description="path")
    def short_path(self, record: AuditRecord) -> str:
        return record.path if len(record.path) <= 60 else f"{record.path[:59]}…"

    @display(description="record")
    def summary(self, record: AuditRecord) -> SafeString:
        """Every field of the signed body: the columns are only copies of some."""
        rows = format_html_join(
            "",
            '<tr><th class="pr-8 py-1 text-left align-top font-normal text-font-subtle-light">{}</th>'
            '<td class="py-1 break-all font-mono">{}</td></tr>',
            ((name, _shown(value)) for name, value in orjson.loads(record.body).items() if value is not None),
        )
        return format_html("<table>{}</table>", rows)

    @display(description="records with this request id")
    def story(self, record: AuditRecord) -> SafeString | str:
        if not record.request_id:
            return "This record belongs to no request."
        told = records().filter(request_id=record.request_id).order_by("event_id")[:STORY_RECORDS]
        rows = format_html_join(
            "",
            '<tr><td class="pr-6 py-1 font-mono">{}</td><td class="pr-6"><a class="underline" href="{}">{}</a>'
            '</td><td class="pr-6">{}</td><td class="pr-6">{}</td><td class="break-all">{} {}</td></tr>',
            (
                (
                    self.moment(entry),
                    reverse("admin:auditlog_auditrecord_change", args=[entry.pk]),
                    entry.event,
                    entry.decision,
                    "" if entry.status is None else entry.status,
                    entry.method,
                    entry.path,
                )
                for entry in told
            ),
        )
        return format_html("<table>{}</table>", rows)

    @display(description="hash")
    def hash_text(self, record: AuditRecord) -> str:
        return bytes(record.hash).hex()


@admin.register(ShipperStatus)
class ShipperStatusAdmin(ReadOnlyAdmin):
    """Lag, spool and counts of every shipper and sink."""

    list_display = [
        "sink", "node", "delivered", "failed", "undeliverable", "lag", "spool", "last_error", "updated_at",
    ]  # fmt: skip
    list_filter_submit = False

    @display(description="lag", ordering="lag_seconds")
    def lag(self, status: ShipperStatus) -> str:
        return f"{status.lag_seconds:.1f} s"

    @display(description="spool", ordering="spool_bytes")
    def spool(self, status: ShipperStatus) -> str:
        return f"{status.spool_bytes / 1_048_576:.1f} MiB"


@lru_cache(maxsize=256)
def _decision_label(decision: str) -> str:
    """A template is rendered for a label: once for each word, not for each row."""
    kind = "allow" if decision == "allow" else "refused"
    label: str = display_for_label((kind, decision), "", {"allow": "success", "refused": "danger"})
    return label


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
