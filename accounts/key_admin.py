"""Admin of API keys: the list, the page, and what can be done with a key (revoke, rotate)."""

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.decorators import action, display

from accounts.configuration_admin import ConfigurationAdmin, ListFields
from accounts.key_pages import confirmation_page, instead_of_redirect, remember_issued, secret_page
from accounts.keys import IssuedKey, issue_key, revoke_key, rotate_key
from accounts.models import ApiKey
from accounts.revisions import one_revision

STATE_COLOURS = {"live": "success", "expired": "warning", "revoked": "danger"}


class KeyStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("live", "Live"),
            ("expiring", "Expires within 30 days"),
            ("expired", "Expired"),
            ("revoked", "Revoked"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        now = timezone.now()
        unrevoked = Q(revoked_at=None)
        match self.value():
            case "live":
                return queryset.filter(unrevoked, Q(expires_at=None) | Q(expires_at__gt=now))
            case "expiring":
                soon = now + timedelta(days=30)
                return queryset.filter(unrevoked, expires_at__gt=now, expires_at__lte=soon)
            case "expired":
                return queryset.filter(unrevoked, expires_at__lte=now)
            case "revoked":
                return queryset.exclude(unrevoked)
        return queryset


def store_new_key(request: HttpRequest, draft: ApiKey) -> None:
    """Make the key that a form describes; its secret stays with the request."""
    issued = issue_key(
        draft.principal,
        draft.name,
        scopes=draft.scopes,
        allowed_cidrs=draft.allowed_cidrs,
        expires_at=draft.expires_at,
    )
    draft.pk, draft.public_id = issued.key.pk, issued.key.public_id
    draft._state.adding = False
    remember_issued(request, IssuedKey(issued.key, issued.secret))


class ApiKeyInline(ListFields, TabularInline):
    """Keys of one principal. A new row makes a key; revoking is done on the key's own page."""

    model = ApiKey
    fk_name = "principal"
    fields = ["name", "scopes", "allowed_cidrs", "expires_at", "key_state", "key_page"]
    readonly_fields = ["key_state", "key_page"]
    text_lists = ("scopes", "allowed_cidrs")
    extra = 0
    can_delete = False
    hide_title = True
    tab = True
    verbose_name_plural = "API keys"

    @display(description="state", label=STATE_COLOURS)
    def key_state(self, key: ApiKey) -> str:
        return key.state if key.pk else ""

    @display(description="rotate, revoke")
    def key_page(self, key: ApiKey) -> str:
        if not key.pk:
            return ""
        url = reverse("admin:accounts_apikey_change", args=[key.pk])
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, key.public_id
        )


@admin.register(ApiKey)
class ApiKeyAdmin(ConfigurationAdmin):
    list_display = ["name", "principal_name", "public_id", "key_state", "expires_at", "last_used_at"]
    list_filter = [KeyStateFilter, "principal__kind"]
    list_select_related = ["principal"]
    search_fields = ["name", "public_id", "principal__name"]
    autocomplete_fields = ["principal"]
    text_lists = ("scopes", "allowed_cidrs")
    date_hierarchy = None
    fieldsets = [
        (None, {"fields": ["principal", "name", "key_state", "public_id"]}),
        ("What it is limited to", {"fields": ["scopes", "allowed_cidrs", "expires_at"]}),
        ("What happened", {"fields": ["last_used_at", "revoked_at", "created_at", "updated_at"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["principal", "name"]}),
        ("What it is limited to", {"fields": ["scopes", "allowed_cidrs", "expires_at"]}),
    ]
    actions = ["revoke_selected"]
    actions_row = ["rotate", "revoke"]
    actions_detail = ["rotate", "revoke"]

    @display(description="principal", ordering="principal__name")
    def principal_name(self, key: ApiKey) -> str:
        return key.principal.name

    @display(description="state", label=STATE_COLOURS)
    def key_state(self, key: ApiKey) -> str:
        return key.state

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        shown = ["key_state", "public_id", "last_used_at", "revoked_at", "created_at", "updated_at"]
        # A key never changes hands: its history would tell of two people.
        return shown if obj is None else [*shown, "principal"]

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
        else:
            store_new_key(request, obj)

    def response_add(self, request: HttpRequest, obj: ApiKey, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().response_add(request, obj, *args, **kwargs)
        return instead_of_redirect(self.admin_site, request, response)

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        keys = [key for key in queryset if key.revoked_at is None]
        for key in keys:
            self._revoke(request, key)
        self.message_user(request, f"{len(keys)} key{'' if len(keys) == 1 else 's'} revoked.")

    @action(description="Revoke", url_path="revoke", icon="block")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self._changeable(request, object_id)
        if request.method == "POST":
            with one_revision():
                self._revoke(request, key)
            self.message_user(request, f"{key} is revoked: every worker refuses it within two seconds.")
            return HttpResponseRedirect(self._page_of(key))
        return confirmation_page(
            self.admin_site,
            request,
            title=f"Revoke {key.name} of {key.principal.name}?",
            explanation="The gateway refuses this key from the next moment on. It can't be taken back.",
            button="Revoke this key",
            dangerous=True,
            cancel_url=self._page_of(key),
        )

    @action(description="Rotate", url_path="rotate", icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self._changeable(request, object_id)
        if key.state != "live":
            self.message_user(request, f"This key is {key.state}: create a new one.", messages.ERROR)
            return HttpResponseRedirect(self._page_of(key))
        if request.method == "POST":
            return self._rotate(request, key)
        return confirmation_page(
            self.admin_site,
            request,
            title=f"Rotate {key.name} of {key.principal.name}?",
            explanation="A new key of the same name, scopes and networks is made and shown once. "
            "The old one works until its grace period is over, or until you revoke it.",
            button="Rotate this key",
            seen=key.updated_at.isoformat(),
            cancel_url=self._page_of(key),
        )

    def _rotate(self, request: HttpRequest, key: ApiKey) -> HttpResponse:
        # The page says which state of the key it was made for: sent again, it rotates nothing.
        if request.POST.get("seen") != key.updated_at.isoformat():
            self.message_user(request, "This key has changed since: nothing was done.", messages.ERROR)
            return HttpResponseRedirect(self._page_of(key))
        try:
            with one_revision():
                issued = rotate_key(key)
                self.log_change(request, key, f"Rotated; successor {issued.key.public_id}")
        except ValidationError as error:
            self.message_user(request, " ".join(error.messages), messages.ERROR)
            return HttpResponseRedirect(self._page_of(key))
        return secret_page(self.admin_site, request, [issued], self._page_of(issued.key))

    def _revoke(self, request: HttpRequest, key: ApiKey) -> None:
        revoke_key(key)
        self.log_change(request, key, "Revoked")

    def _changeable(self, request: HttpRequest, object_id: str) -> ApiKey:
        key = get_object_or_404(ApiKey.objects.select_related("principal"), pk=object_id)
        if not self.has_change_permission(request, key):
            raise PermissionDenied
        return key

    def _page_of(self, key: ApiKey) -> str:
        return reverse("admin:accounts_apikey_change", args=[key.pk])
