"""Admin of principals, roles, assets and grants. API keys have key_admin.py."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm
from unfold.widgets import UnfoldAdminSelect2MultipleWidget

from accounts.configuration_admin import ConfigurationAdmin, ListFields
from accounts.csv_files import AssetResource, CsvAdmin, GrantResource, PrincipalResource
from accounts.key_admin import ApiKeyInline, store_new_key
from accounts.key_pages import instead_of_redirect
from accounts.models import ApiKey, Asset, Grant, Membership, Principal, Role
from accounts.validators import ACTIONS

admin.site.unregister(Group)

GRANT_COLOURS = {"live": "success", "expired": "warning", "denies: has a condition": "danger"}


def grant_state(grant: Grant) -> str:
    if grant.expires_at is not None and grant.expires_at <= timezone.now():
        return "expired"
    return "denies: has a condition" if grant.condition else "live"


class GrantStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("live", "Live"), ("expired", "Expired"), ("condition", "Denies: has a condition")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        expired = Q(expires_at__lte=timezone.now())
        match self.value():
            case "live":
                return queryset.exclude(expired).filter(condition="")
            case "expired":
                return queryset.filter(expired)
            case "condition":
                return queryset.exclude(condition="")
        return queryset


class MemberInline(TabularInline):
    model = Membership
    fk_name = "group"
    fields = ["member"]
    autocomplete_fields = ["member"]
    extra = 0
    hide_title = True
    tab = True
    verbose_name = "member"
    verbose_name_plural = "members"


class MemberOfInline(TabularInline):
    model = Membership
    fk_name = "member"
    fields = ["group"]
    autocomplete_fields = ["group"]
    extra = 0
    hide_title = True
    tab = True
    verbose_name = "membership"
    verbose_name_plural = "member of"


class GrantInline(ListFields, TabularInline):
    model = Grant
    fields = ["asset", "actions", "expires_at", "condition", "state"]
    readonly_fields = ["state"]
    autocomplete_fields = ["asset"]
    choice_lists = {"actions": ACTIONS}
    extra = 0
    hide_title = True
    tab = True

    @display(description="state", label=GRANT_COLOURS)
    def state(self, grant: Grant) -> str:
        return grant_state(grant) if grant.pk else ""


@admin.register(Principal)
class PrincipalAdmin(CsvAdmin, ConfigurationAdmin, UserAdmin):
    """UserAdmin gives the password page; everything else of it is overridden."""

    resource_classes = [PrincipalResource]
    list_display = ["name", "kind_label", "display_name", "role_names", "key_count", "is_active", "is_staff"]
    list_filter = ["kind", "roles", "is_active", "is_staff"]
    search_fields = ["name", "display_name", "email"]
    ordering = ["name"]
    filter_horizontal = []
    autocomplete_fields = ["roles"]
    form = ModelForm
    add_form = ModelForm
    change_password_form = AdminPasswordChangeForm
    actions = ["enable", "disable"]
    readonly_fields = ["password_state", "last_login", "created_at", "updated_at"]
    add_fieldsets = [
        (None, {"fields": ["name", "kind", "display_name", "email", "roles"]}),
    ]
    fieldsets = [
        (None, {"fields": ["name", "kind", "display_name", "email", "is_active", "roles", "attributes"]}),
    ]
    sign_in = ("Signing in to the admin", {"fields": ["password_state", "is_staff", "last_login"]})
    sign_in_as_superuser = (
        "Signing in to the admin",
        {"fields": ["password_state", "is_staff", "is_superuser", "user_permissions", "last_login"]},
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Principal]:
        return super().get_queryset(request).prefetch_related("roles")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        # Counted for the page that is shown, not for every principal there is.
        pks = [principal.pk for principal in changelist.result_list]
        live = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
        counts = dict(
            ApiKey.objects.filter(live, principal__in=pks)
            .order_by()
            .values_list("principal")
            .annotate(Count("pk"))
        )
        for principal in changelist.result_list:
            principal.live_keys = counts.get(principal.pk, 0)
        return changelist

    @display(description="kind", ordering="kind", label={"User": "info", "Group": "primary"})
    def kind_label(self, principal: Principal) -> str:
        return principal.get_kind_display()

    @display(description="roles")
    def role_names(self, principal: Principal) -> str:
        return ", ".join(role.name for role in principal.roles.all())

    @display(description="live keys")
    def key_count(self, principal: Principal) -> int:
        return principal.live_keys

    @display(description="password")
    def password_state(self, principal: Principal) -> str:
        words = "set" if principal.has_usable_password() else "none"
        url = reverse("admin:auth_user_password_change", args=[principal.pk])
        return format_html(
            '{} · <a class="text-primary-600 dark:text-primary-500" href="{}">change</a>', words, url
        )

    def get_fieldsets(self, request: HttpRequest, obj: Principal | None = None) -> Any:
        if obj is None:
            return self.add_fieldsets
        if obj.kind != Principal.Kind.USER:
            return self.fieldsets
        may_promote = request.user.is_superuser
        return [*self.fieldsets, self.sign_in_as_superuser if may_promote else self.sign_in]

    def get_readonly_fields(self, request: HttpRequest, obj: Principal | None = None) -> list[str]:
        # Who may sign in to the admin is for superusers to say.
        return [*self.readonly_fields, *([] if request.user.is_superuser else ["is_staff", "is_superuser"])]

    def get_inlines(self, request: HttpRequest, obj: Principal | None) -> list[Any]:
        if obj is None:
            return []
        if obj.kind == Principal.Kind.GROUP:
            return [MemberInline, GrantInline, MemberOfInline]
        return [ApiKeyInline, GrantInline, MemberOfInline]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user_permissions":
            # Of the table of axes: to see the sign-in lockouts, and to lift them.
            lockouts = Q(codename__in=["view_accessattempt", "delete_accessattempt"])
            kwargs["queryset"] = (
                Permission.objects.filter(
                    lockouts | Q(content_type__app_label__in=["accounts", "routing", "auditlog"])
                )
                .exclude(codename__contains="historical")
                .select_related("content_type")
            )
            kwargs["widget"] = UnfoldAdminSelect2MultipleWidget
            kwargs["help_text"] = "What a user who is no superuser may do in the admin."
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_form(
        self, request: HttpRequest, obj: Principal | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        # Not UserAdmin's: its form for new users asks for a user name and a password.
        return super(UserAdmin, self).get_form(request, obj, change=change, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Principal | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Principal | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        principal = self.get_object(request, id)
        if principal is not None and principal.kind != Principal.Kind.USER:
            self.message_user(request, "Only users have a password.", messages.ERROR)
            return HttpResponseRedirect(reverse("admin:accounts_principal_change", args=[principal.pk]))
        # Whoever sets the password of an account can act as it.
        if principal is not None and principal.is_staff and not request.user.is_superuser:
            raise PermissionDenied
        return super().user_change_password(request, id, form_url)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        if formset.model is not ApiKey:
            super().save_formset(request, form, formset, change)
            return
        formset.save(commit=False)
        for draft in formset.new_objects:
            store_new_key(request, draft)
        for key, _ in formset.changed_objects:
            key.save()
        formset.save_m2m()

    def response_add(self, request: HttpRequest, obj: Principal, *args: Any, **kwargs: Any) -> HttpResponse:
        # Keys, members and grants are given on the page that comes next.
        if "_addanother" not in request.POST and "_popup" not in request.POST:
            request.POST = request.POST.copy()
            request.POST["_continue"] = 1
        return super(UserAdmin, self).response_add(request, obj, *args, **kwargs)

    def response_change(self, request: HttpRequest, obj: Principal) -> HttpResponse:
        return instead_of_redirect(self.admin_site, request, super().response_change(request, obj))

    @admin.action(description="Enable selected principals", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Principal]) -> None:
        self._switch(request, queryset, True)

    @admin.action(description="Disable selected principals", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Principal]) -> None:
        self._switch(request, queryset, False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Principal], enabled: bool) -> None:
        switched = 0
        for principal in queryset.exclude(is_active=enabled):
            if principal.pk == request.user.pk or not self.has_change_permission(request, principal):
                self.message_user(request, f"{principal} stays as it is.", messages.WARNING)
                continue
            principal.is_active = enabled
            principal.save(update_fields=["is_active", "updated_at"])
            self.log_change(request, principal, "Enabled" if enabled else "Disabled")
            switched += 1
        self.message_user(request, f"{switched} {'enabled' if enabled else 'disabled'}.")


def _may_touch(request: HttpRequest, principal: Principal | None) -> bool:
    """A superuser's row is for superusers: anybody else could raise himself through it."""
    return principal is None or not principal.is_superuser or request.user.is_superuser


@admin.register(Role)
class RoleAdmin(ConfigurationAdmin):
    list_display = ["name", "description", "permission_text", "rate", "principal_count"]
    search_fields = ["name", "description"]
    ordering = ["name"]
    text_lists = ("permissions",)
    fieldsets = [
        (None, {"fields": ["name", "description", "permissions"]}),
        ("Rate limit of its principals", {"fields": ["rate_limit", "rate_window"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Role]:
        return super().get_queryset(request).annotate(principal_total=Count("principals"))

    @display(description="permissions")
    def permission_text(self, role: Role) -> str:
        return ", ".join(role.permissions)

    @display(description="rate limit")
    def rate(self, role: Role) -> str:
        return "" if role.rate_limit is None else f"{role.rate_limit} in {role.rate_window} s"

    @display(description="principals", ordering="principal_total")
    def principal_count(self, role: Role) -> int:
        return role.principal_total

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Protect a role that a route requires: without it the route would be open to more."""
        deleted, counts, permissions, protected = super().get_deleted_objects(objs, request)
        for role in objs:
            protected += [f"Route {route}, which requires the role {role}" for route in role.routes.all()]
        return deleted, counts, permissions, protected


@admin.register(Asset)
class AssetAdmin(CsvAdmin, ConfigurationAdmin):
    resource_classes = [AssetResource]
    list_display = ["name", "description", "sensitivity_label", "grant_count"]
    list_filter = ["sensitivity"]
    search_fields = ["name", "description"]
    ordering = ["name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Asset]:
        return super().get_queryset(request).annotate(grant_total=Count("grants"))

    @display(
        description="sensitivity",
        ordering="sensitivity",
        label={"Low": "success", "Medium": "info", "High": "warning", "Critical": "danger"},
    )
    def sensitivity_label(self, asset: Asset) -> str:
        return asset.get_sensitivity_display()

    @display(description="grants", ordering="grant_total")
    def grant_count(self, asset: Asset) -> int:
        return asset.grant_total


@admin.register(Grant)
class GrantAdmin(CsvAdmin, ConfigurationAdmin):
    resource_classes = [GrantResource]
    list_display = ["principal_name", "asset_name", "action_text", "state", "expires_at", "justification"]
    list_display_links = ["principal_name", "asset_name"]
    list_filter = [GrantStateFilter, "principal__kind", "asset__sensitivity"]
    list_select_related = ["principal", "asset"]
    search_fields = ["principal__name", "asset__name", "justification"]
    autocomplete_fields = ["principal", "asset"]
    choice_lists = {"actions": ACTIONS}
    change_form_before_template = "admin/accounts/grant/condition_banner.html"
    fieldsets = [
        (None, {"fields": ["principal", "asset", "actions"]}),
        ("Until when, and why", {"fields": ["expires_at", "justification"]}),
        ("Condition", {"fields": ["condition"]}),
    ]

    @display(description="principal", ordering="principal__name")
    def principal_name(self, grant: Grant) -> str:
        return grant.principal.name

    @display(description="asset", ordering="asset__name")
    def asset_name(self, grant: Grant) -> str:
        return grant.asset.name

    @display(description="actions")
    def action_text(self, grant: Grant) -> str:
        return ", ".join(grant.actions)

    @display(description="state", label=GRANT_COLOURS)
    def state(self, grant: Grant) -> str:
        return grant_state(grant)
