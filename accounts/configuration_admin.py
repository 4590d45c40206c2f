"""What the admin pages of all configuration rows share: one save, one revision; lists; history."""

from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Field, ProtectedError
from django.forms import Textarea
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from simple_history.admin import SimpleHistoryAdmin
from unfold.admin import ModelAdmin

from accounts.forms import list_field
from accounts.revisions import one_revision


class ListFields:
    """Edit the model's JSON lists as text or as ticks."""

    text_lists: Iterable[str] = ()
    choice_lists: dict[str, tuple[str, ...]] = {}

    def formfield_for_dbfield(self, db_field: Field, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.choice_lists:
            return list_field(db_field, self.choice_lists[db_field.name])
        if db_field.name in self.text_lists:
            return list_field(db_field)
        form_field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if form_field is not None and isinstance(form_field.widget, Textarea):
            form_field.widget.attrs["rows"] = 3
        return form_field


class ConfigurationAdmin(ListFields, SimpleHistoryAdmin, ModelAdmin):
    """A page for rows that the gateway obeys."""

    list_per_page = 50
    list_filter_submit = False
    warn_unsaved_form = True
    compressed_fields = True
    save_on_top = False

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Save the row and everything in its inlines as one revision, or nothing of it."""
        try:
            with one_revision():
                return super().changeform_view(request, *args, **kwargs)
        except ValidationError as error:
            # The form was valid; what the model refuses now was changed meanwhile by somebody else.
            return self._refused(request, error)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            with one_revision():
                return super().changelist_view(request, *args, **kwargs)
        except (ValidationError, ProtectedError) as error:
            return self._refused(request, error)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            with one_revision():
                return super().delete_view(request, *args, **kwargs)
        except ProtectedError as error:
            return self._refused(request, error)

    def _refused(self, request: HttpRequest, error: ValidationError | ProtectedError) -> HttpResponse:
        """Say what the models refused after the page had found nothing wrong."""
        words = error.messages if isinstance(error, ValidationError) else [str(error.args[0])]
        self.message_user(request, " ".join(words), messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())

    def history_form_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # A revert would revive revoked keys and expired grants; the past can only be looked at.
        if request.method != "GET":
            raise PermissionDenied
        return super().history_form_view(request, *args, **kwargs)

    def revert_disabled(self, request: HttpRequest, obj: Any = None) -> bool:
        return True
