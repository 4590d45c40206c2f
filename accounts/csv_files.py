"""Principals, assets and grants as CSV: what the columns are, and who may import which rows.

An import is all or nothing, validated row by row by the models' own rules. Passwords, keys and the
leave to sign in to the admin are not among the columns.
"""

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from import_export.admin import ImportExportMixin
from import_export.fields import Field
from import_export.formats.base_formats import CSV
from import_export.resources import ModelResource
from import_export.widgets import DateTimeWidget, ForeignKeyWidget, ManyToManyWidget, Widget
from unfold.contrib.import_export.forms import ExportForm, ImportForm

from accounts.models import Asset, Grant, Principal, Role
from accounts.revisions import one_revision


class WordsWidget(Widget):
    """A list of words in one cell, separated by spaces."""

    def clean(self, value: Any, row: Any = None, **options: Any) -> list[str]:
        return str(value or "").replace(",", " ").split()

    def render(self, value: Any, obj: Any = None, **options: Any) -> str:
        return " ".join(value or ())


class NamesWidget(ManyToManyWidget):
    """Names in one cell, separated by spaces; each has to exist."""

    def clean(self, value: Any, row: Any = None, **options: Any) -> Any:
        names = WordsWidget().clean(value)
        found = list(self.model.objects.filter(name__in=names))
        missing = sorted(set(names) - {row.name for row in found})
        if missing:
            raise ValueError(f"No {self.model._meta.verbose_name} is named {', '.join(missing)}.")
        return found


class _Resource(ModelResource):
    class Meta:
        skip_unchanged = True
        report_skipped = False
        clean_model_instances = True
        use_transactions = True


class PrincipalResource(_Resource):
    roles = Field("roles", "roles", widget=NamesWidget(Role, field="name", separator=" "), m2m_add=False)

    class Meta(_Resource.Meta):
        model = Principal
        import_id_fields = ["name"]
        fields = ["name", "kind", "display_name", "email", "is_active", "roles"]
        export_order = fields

    def init_instance(self, row: Any = None) -> Principal:
        instance = super().init_instance(row)
        instance.set_unusable_password()
        return instance

    def before_save_instance(self, instance: Principal, row: Any, **options: Any) -> None:
        user = options["user"]
        if instance.is_superuser and not user.is_superuser:
            raise ValidationError(f"Only a superuser may change {instance.name}.")


class AssetResource(_Resource):
    class Meta(_Resource.Meta):
        model = Asset
        import_id_fields = ["name"]
        fields = ["name", "description", "sensitivity"]
        export_order = fields


class GrantResource(_Resource):
    principal = Field("principal", "principal", widget=ForeignKeyWidget(Principal, "name"))
    asset = Field("asset", "asset", widget=ForeignKeyWidget(Asset, "name"))
    actions = Field("actions", "actions", widget=WordsWidget())
    expires_at = Field("expires_at", "expires_at", widget=DateTimeWidget("%Y-%m-%d %H:%M:%S"))

    class Meta(_Resource.Meta):
        model = Grant
        import_id_fields = ["principal", "asset", "condition"]
        fields = ["principal", "asset", "actions", "expires_at", "condition", "justification"]
        export_order = fields


class _Refused(Exception):
    """Carries the page that names the mistakes out of the transaction that it rolls back."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response


class CsvAdmin(ImportExportMixin):
    """Import and export for a page whose `resource_classes` say the columns."""

    import_form_class = ImportForm
    export_form_class = ExportForm
    formats = [CSV]
    # Straight from the upload: no copy of the file is left on a disk between two pages.
    skip_import_confirm = True
    skip_export_form = True

    def has_import_permission(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request) and self.has_change_permission(request)

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def process_import(self, request: HttpRequest, **options: Any) -> HttpResponse:
        # The second step that isn't used: it would read a file that the client names.
        return self.import_action(request, **options)

    def import_action(self, request: HttpRequest, **options: Any) -> HttpResponse:
        try:
            with one_revision():
                response = super().import_action(request, **options)
                if response.status_code != 302:
                    raise _Refused(response)
                return response
        except _Refused as refused:
            return refused.response
