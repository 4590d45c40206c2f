"""Principals, roles, API keys, assets and grants: who there is, and what each may reach."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from simple_history.models import HistoricalRecords

from accounts.revisions import UNWATCHED_FIELDS, Change, ChangeKey, Revision
from accounts.validators import (
    validate_actions,
    validate_attributes,
    validate_name,
    validate_networks,
    validate_permissions,
)

__all__ = ["ApiKey", "Asset", "Change", "Grant", "Membership", "Principal", "Revision", "Role"]


class ConfigurationModel(models.Model):
    """A row the gateway obeys: validated on every save, changed together with its revision."""

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Validate and save. Raises django.core.exceptions.ValidationError."""
        if UNWATCHED_FIELDS.issuperset(kwargs.get("update_fields") or ["everything"]):
            self._save_use(*args, **kwargs)
            return
        self.full_clean()
        with transaction.atomic():
            super().save(*args, **kwargs)

    def _save_use(self, *args: Any, **kwargs: Any) -> None:
        """Save when a row was used: no change of configuration, so nothing for its history."""
        self.skip_history_when_saving = True
        try:
            super().save(*args, **kwargs)
        finally:
            del self.skip_history_when_saving

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            return super().delete(*args, **kwargs)


class PartOfPrincipal(ConfigurationModel):
    """A row that the directory holds within a principal: its change is the principal's change."""

    subject_field: str

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any) -> Any:
        instance = super().from_db(db, field_names, values)
        # A row moved from one principal to another changes both.
        instance._subject_when_loaded = instance.__dict__.get(f"{cls.subject_field}_id")
        return instance

    def revision_subjects(self) -> set[ChangeKey]:
        ids = {getattr(self, f"{self.subject_field}_id"), getattr(self, "_subject_when_loaded", None)}
        return {ChangeKey("accounts.Principal", str(subject)) for subject in ids if subject is not None}


class Role(ConfigurationModel):
    """A named set of permissions of the form resource:action."""

    name = models.CharField(max_length=150, unique=True, validators=[validate_name])
    description = models.TextField(blank=True)
    permissions = models.JSONField(default=list, blank=True, validators=[validate_permissions])
    rate_limit = models.PositiveIntegerField(null=True, blank=True, help_text="Requests per window.")
    rate_window = models.PositiveIntegerField(default=60, help_text="Seconds.")
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Raises ProtectedError while a route requires the role: without it the route would be open to more."""
        routes = set(self.routes.all())
        if routes:
            raise models.ProtectedError(f"A route requires the role {self.name}.", routes)
        return super().delete(*args, **kwargs)


class PrincipalManager(BaseUserManager["Principal"]):
    def create_user(self, name: str, password: str | None = None, **fields: Any) -> "Principal":
        principal = self.model(name=name, **fields)
        principal.set_password(password)
        principal.save()
        return principal

    def create_superuser(self, name: str, password: str | None = None, **fields: Any) -> "Principal":
        return self.create_user(name, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, name: str | None) -> "Principal":
        return self.get(name=name)


class Principal(ConfigurationModel, AbstractBaseUser, PermissionsMixin):
    """A user, a service account, or a group whose members share its roles and grants."""

    class Kind(models.TextChoices):
        USER = "user", "User"
        SERVICE_ACCOUNT = "service_account", "Service account"
        GROUP = "group", "Group"

    name = models.CharField(max_length=150, unique=True, validators=[validate_name])
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.USER)
    display_name = models.CharField(max_length=200, blank=True)
    email = models.EmailField(blank=True)
    roles = models.ManyToManyField(Role, blank=True, related_name="principals")
    attributes = models.JSONField(default=dict, blank=True, validators=[validate_attributes])
    is_active = models.BooleanField("enabled", default=True, help_text="A disabled principal is refused.")
    is_staff = models.BooleanField("may sign in to the admin", default=False)
    history = HistoricalRecords(m2m_fields=[roles], excluded_fields=["password", "last_login"])

    objects = PrincipalManager()
    USERNAME_FIELD = "name"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: list[str] = []

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="principal_kind_known",
                condition=models.Q(kind__in=["user", "service_account", "group"]),
            ),
            models.CheckConstraint(
                name="only_users_sign_in",
                condition=models.Q(kind="user") | models.Q(is_staff=False, is_superuser=False),
                violation_error_message="Only a user may sign in to the admin.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.password:
            self.set_unusable_password()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        super().clean()
        if self.pk and self.kind != self.Kind.GROUP and self.memberships.exists():
            raise ValidationError({"kind": "This group has members: remove them before changing its kind."})
        if self.pk and self.kind == self.Kind.GROUP and self.api_keys.exists():
            raise ValidationError({"kind": "A group can't hold API keys: revoke and delete them first."})


class Membership(PartOfPrincipal):
    """One principal's place in a group. Groups may hold groups, never in a circle."""

    subject_field = "member"
    group = models.ForeignKey(Principal, on_delete=models.CASCADE, related_name="memberships")
    member = models.ForeignKey(Principal, on_delete=models.CASCADE, related_name="member_of")
    history = HistoricalRecords()

    class Meta:
        ordering = ["group__name", "member__name"]
        constraints = [
            models.UniqueConstraint(
                fields=["group", "member"],
                name="membership_unique",
                violation_error_message="This principal is a member of the group already.",
            ),
            models.CheckConstraint(
                name="membership_not_of_itself",
                condition=~models.Q(group=models.F("member")),
                violation_error_message="A group can't be its own member.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.member} in {self.group}"

    def clean(self) -> None:
        super().clean()
        if self.group_id is None or self.member_id is None:
            return
        if self.group.kind != Principal.Kind.GROUP:
            raise ValidationError({"group": f"{self.group} is not a group."})
        if self.group_id in self._groups_below(self.member_id):
            raise ValidationError(
                {"member": f"{self.group} is a member of {self.member}: that would be a circle."}
            )

    def _groups_below(self, principal_id: int) -> set[int]:
        found: set[int] = set()
        edge = {principal_id}
        while edge:
            members = Membership.objects.filter(group_id__in=edge).values_list("member_id", flat=True)
            edge = set(members) - found
            found |= edge
        return found


class ApiKey(ConfigurationModel):
    """A credential. Only its digest is stored: the secret is shown once, by accounts.keys.issue_key."""

    principal = models.ForeignKey(Principal, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=150, validators=[validate_name])
    public_id = models.CharField(max_length=32, unique=True, editable=False)
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    scopes = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_permissions],
        help_text="resource:action; empty: all that the principal may do.",
    )
    allowed_cidrs = models.JSONField(
        "allowed networks",
        default=list,
        blank=True,
        validators=[validate_networks],
        help_text="Client addresses this key works from; empty: any.",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    history = HistoricalRecords(excluded_fields=["digest", "last_used_at"])

    class Meta:
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        ordering = ["principal__name", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["principal", "name"],
                name="api_key_name_unique",
                violation_error_message="This principal has a key of that name already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.public_id})"

    def clean(self) -> None:
        super().clean()
        if self.principal_id and self.principal.kind == Principal.Kind.GROUP:
            raise ValidationError({"principal": "A group can't hold API keys; give the key to a member."})

    @property
    def state(self) -> str:
        """revoked, expired or live, as of now."""
        now = timezone.now()
        if self.revoked_at is not None and self.revoked_at <= now:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "live"


class Asset(ConfigurationModel):
    """Something worth protecting, behind one or more routes."""

    class Sensitivity(models.TextChoices):
        LOW = "low", "Low"
        MEDIUM = "medium", "Medium"
        HIGH = "high", "High"
        CRITICAL = "critical", "Critical"

    name = models.CharField(max_length=150, unique=True, validators=[validate_name])
    description = models.TextField(blank=True)
    sensitivity = models.CharField(max_length=10, choices=Sensitivity, default=Sensitivity.MEDIUM)
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="asset_sensitivity_known",
                condition=models.Q(sensitivity__in=["low", "medium", "high", "critical"]),
            )
        ]

    def __str__(self) -> str:
        return self.name


class Grant(PartOfPrincipal):
    """Leave for a principal (or a group's members) to act on an asset."""

    subject_field = "principal"
    principal = models.ForeignKey(Principal, on_delete=models.CASCADE, related_name="grants")
    asset = models.ForeignKey(Asset, on_delete=models.CASCADE, related_name="grants")
    actions = models.JSONField(
        default=list, validators=[validate_actions], help_text="Of read, write, delete, or * for all."
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    condition = models.TextField(
        blank=True,
        help_text="A CEL expression. Conditions are not evaluated yet: a grant that has one denies.",
    )
    justification = models.TextField(blank=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["principal__name", "asset__name"]
        constraints = [
            models.UniqueConstraint(
                fields=["principal", "asset", "condition"],
                name="grant_unique",
                violation_error_message="This principal has a grant on that asset already: change that one.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.principal} → {self.asset}: {', '.join(self.actions)}"
