"""Services, their targets, and the routes that lead there: the rows a snapshot is compiled from."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from simple_history.models import HistoricalRecords

from accounts.models import Asset, ConfigurationModel, Role
from accounts.validators import validate_name, validate_networks
from routing import validators
from routing.upstream.addresses import problem_with_host


def default_authenticators() -> list[str]:
    return ["api_key", "jwt"]


class GatewaySettings(ConfigurationModel):
    """The one row of settings that an administrator may change while the gateway runs."""

    trusted_proxies = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_networks],
        help_text="Networks whose X-Forwarded-For is believed; empty: the peer is the client.",
    )
    cors_origins = models.JSONField(
        "CORS origins", default=list, blank=True, validators=[validators.validate_origins]
    )
    history = HistoricalRecords()

    class Meta:
        verbose_name = verbose_name_plural = "gateway settings"
        constraints = [models.CheckConstraint(name="one_settings_row", condition=models.Q(pk=1))]

    def __str__(self) -> str:
        return "Gateway settings"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.pk = 1
        super().save(*args, **kwargs)


class Service(ConfigurationModel):
    """One upstream application, reached through one or more targets."""

    class LoadBalancing(models.TextChoices):
        ROUND_ROBIN = "round_robin", "Round robin"
        LEAST_CONNECTIONS = "least_connections", "Least connections"
        RANDOM = "random", "Random"
        CONSISTENT_HASH = "consistent_hash", "Consistent hash"

    class IdentityMode(models.TextChoices):
        HEADERS = "headers", "Headers (X-User-Id …)"
        JWT = "jwt", "A token minted by the gateway"
        FORWARD = "forward", "The client's own credential"
        NONE = "none", "Nothing"

    name = models.CharField(max_length=150, unique=True, validators=[validate_name])
    description = models.TextField(blank=True)
    load_balancing = models.CharField(max_length=20, choices=LoadBalancing, default=LoadBalancing.ROUND_ROBIN)
    connect_timeout = models.FloatField(
        default=2.0, validators=[MinValueValidator(0.01), MaxValueValidator(60)]
    )
    response_timeout = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.01), MaxValueValidator(3600)],
        help_text="Seconds until the response begins; empty: GATEWAY_ROUTE_TIMEOUT.",
    )
    idle_timeout = models.FloatField(
        default=60.0,
        validators=[MinValueValidator(0.01), MaxValueValidator(86_400)],
        help_text="Seconds without a byte, in a transfer.",
    )
    retries = models.PositiveSmallIntegerField(default=1, validators=[MaxValueValidator(5)])
    health_path = models.CharField(max_length=500, blank=True)
    health_interval = models.FloatField(default=5.0, validators=[MinValueValidator(0.1)])
    health_timeout = models.FloatField(default=2.0, validators=[MinValueValidator(0.01)])
    unhealthy_after = models.PositiveSmallIntegerField(default=5, validators=[MinValueValidator(1)])
    healthy_after = models.PositiveSmallIntegerField(default=2, validators=[MinValueValidator(1)])
    breaker_failures = models.PositiveSmallIntegerField(default=5, validators=[MinValueValidator(1)])
    breaker_open_seconds = models.FloatField(default=30.0, validators=[MinValueValidator(0.1)])
    identity = models.CharField(max_length=10, choices=IdentityMode, default=IdentityMode.HEADERS)
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Target(ConfigurationModel):
    """One address of a service."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="targets")
    url = models.CharField("URL", max_length=500, validators=[validators.validate_target_url])
    weight = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(1000)]
    )
    enabled = models.BooleanField(default=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["service__name", "url"]
        constraints = [
            models.UniqueConstraint(
                fields=["service", "url"],
                name="target_unique",
                violation_error_message="This service has that target already.",
            )
        ]

    def __str__(self) -> str:
        return self.url

    def clean(self) -> None:
        super().clean()
        problem = problem_with_host(
            urlsplit(self.url).hostname or "", settings.GATEWAY_ALLOW_LOOPBACK_UPSTREAMS
        )
        if problem is not None:
            raise ValidationError({"url": f"{self.url} leads to {problem}."})


class Route(ConfigurationModel):
    """Which requests go to which service, and who may make them."""

    class Access(models.TextChoices):
        PUBLIC = "public", "Public: anybody"
        AUTHENTICATED = "authenticated", "Authenticated: any principal"
        GRANTED = "granted", "Granted: principals with a grant on the asset"

    name = models.CharField(max_length=150, unique=True, validators=[validate_name])
    description = models.TextField(blank=True)
    enabled = models.BooleanField(default=True)
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="routes")
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, null=True, blank=True, related_name="routes")
    hosts = models.JSONField(
        default=list, blank=True, validators=[validators.validate_hosts], help_text="Empty: any host."
    )
    path = models.CharField(
        max_length=500,
        validators=[validators.validate_path],
        help_text="A prefix on a segment boundary; {id} matches one segment.",
    )
    methods = models.JSONField(
        default=list, blank=True, validators=[validators.validate_methods], help_text="Empty: any method."
    )
    priority = models.IntegerField(default=0, help_text="Only breaks ties between equally exact routes.")
    access = models.CharField(max_length=15, choices=Access, default=Access.GRANTED)
    required_roles = models.ManyToManyField(
        Role, blank=True, related_name="routes", help_text="Any one of these is needed."
    )
    authenticators = models.JSONField(
        default=default_authenticators, blank=True, validators=[validators.validate_authenticators]
    )
    strip_prefix = models.BooleanField(default=False, help_text="/api/orders/1 goes upstream as /1.")
    rewrite = models.CharField(
        max_length=500,
        null=True,
        blank=True,
        validators=[validators.validate_rewrite],
        help_text="What replaces the prefix, such as /v2{rest}.",
    )
    websocket = models.BooleanField("WebSockets", default=False)
    websocket_allowed_origins = models.JSONField(
        "allowed origins",
        default=list,
        blank=True,
        validators=[validators.validate_origins],
        help_text="Pages that may open one; empty: those of the same host; *: any.",
    )
    websocket_max_message_bytes = models.PositiveIntegerField(
        "largest message",
        default=1_048_576,
        validators=[MinValueValidator(1), MaxValueValidator(16_777_216)],
        help_text="Bytes; a larger one closes the connection with 1009.",
    )
    websocket_ping_interval = models.FloatField(
        "ping interval",
        default=20.0,
        validators=[MinValueValidator(0), MaxValueValidator(3600)],
        help_text="Seconds between pings to the service; two without an answer close. 0: none.",
    )
    websocket_messages_per_second = models.PositiveIntegerField(
        "messages per second",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="From one client's connection. Empty: no limit.",
    )
    websocket_bytes_per_second = models.PositiveIntegerField(
        "bytes per second", null=True, blank=True, validators=[MinValueValidator(1)]
    )
    websocket_max_age = models.FloatField(
        "longest life", null=True, blank=True, validators=[MinValueValidator(1)], help_text="Seconds."
    )
    websocket_idle_timeout = models.FloatField(
        "idle timeout",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Seconds without a message either way.",
    )
    websocket_max_connections = models.PositiveIntegerField(
        "connections per principal",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Open at a time, in one worker process.",
    )
    query_api_key = models.BooleanField("API key in the query", default=False)
    max_body_bytes = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Empty: GATEWAY_MAX_BODY_BYTES."
    )
    security_headers = models.BooleanField(default=True)
    allow_encoded_slashes = models.BooleanField(default=False, help_text="Let %2F through in the path.")
    compute = models.BooleanField(default=False, help_text="The compute quota applies.")
    history = HistoricalRecords(m2m_fields=[required_roles])

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="route_access_known",
                condition=models.Q(access__in=["public", "authenticated", "granted"]),
            ),
            models.CheckConstraint(
                name="granted_route_names_an_asset",
                condition=~models.Q(access="granted") | models.Q(asset__isnull=False),
                violation_error_message="A route with access “granted” needs an asset.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.access != self.Access.PUBLIC and not self.authenticators:
            raise ValidationError(
                {"authenticators": "Without an authenticator nobody could use a route that isn't public."}
            )
        if self.rewrite and self.strip_prefix:
            raise ValidationError({"rewrite": "Choose either a rewrite or strip prefix."})


class RateLimit(ConfigurationModel):
    """How often a route may be used, and by whom the uses are counted."""

    class Per(models.TextChoices):
        PRINCIPAL = "principal", "Principal"
        ROLE = "role", "Role"
        KEY = "key", "API key"
        IP = "ip", "Client address"
        ROUTE = "route", "Route"
        GLOBAL = "global", "Everybody together"

    class Algorithm(models.TextChoices):
        SLIDING_WINDOW = "sliding_window", "Sliding window"
        TOKEN_BUCKET = "token_bucket", "Token bucket"
        FIXED_WINDOW = "fixed_window", "Fixed window"

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="rate_limits")
    limit = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    window = models.PositiveIntegerField(default=60, validators=[MinValueValidator(1)], help_text="Seconds.")
    per = models.CharField(max_length=10, choices=Per, default=Per.PRINCIPAL)
    algorithm = models.CharField(max_length=15, choices=Algorithm, default=Algorithm.SLIDING_WINDOW)
    history = HistoricalRecords()

    class Meta:
        ordering = ["route__name", "per", "window"]
        constraints = [
            models.UniqueConstraint(
                fields=["route", "per", "window"],
                name="rate_limit_unique",
                violation_error_message="This route has a limit for that window and subject already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.limit} per {self.window} s per {self.per}"


class HeaderRule(ConfigurationModel):
    """A header that a route sets or removes, on the way up or on the way back."""

    class Direction(models.TextChoices):
        REQUEST = "request", "Request, to the service"
        RESPONSE = "response", "Response, to the client"

    class Operation(models.TextChoices):
        SET = "set", "Set"
        REMOVE = "remove", "Remove"

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="header_rules")
    direction = models.CharField(max_length=10, choices=Direction, default=Direction.REQUEST)
    operation = models.CharField(max_length=10, choices=Operation, default=Operation.SET)
    name = models.CharField(max_length=200, validators=[validators.validate_header_name])
    value = models.CharField(max_length=4000, blank=True, validators=[validators.validate_header_value])
    history = HistoricalRecords()

    class Meta:
        ordering = ["route__name", "direction", "operation", "name"]
        constraints = [
            # Field names are case-insensitive (RFC 9110 5.1): two rules for one header would contradict.
            models.UniqueConstraint(
                "route",
                "direction",
                Lower("name"),
                name="header_rule_unique",
                violation_error_message="This route has a rule for that header already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.direction}: {self.operation} {self.name}"

    def clean(self) -> None:
        super().clean()
        validators.validate_rule_target(self.direction, self.name)
        if self.operation == self.Operation.REMOVE and self.value:
            raise ValidationError({"value": "Removing a header takes no value."})
        # Forms don't check a constraint on an expression where the row's parent is the page's object.
        same = HeaderRule.objects.filter(
            route_id=self.route_id, direction=self.direction, name__iexact=self.name
        ).exclude(pk=self.pk)
        if self.route_id is not None and same.exists():
            raise ValidationError({"name": "This route has a rule for that header already."})


class Worker(models.Model):
    """A process that serves requests, and the revision it serves; written by the process itself."""

    node = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    role = models.CharField(max_length=10)
    revision = models.BigIntegerField(default=0)
    problem = models.TextField(blank=True)
    # Since its start. The database knows the default too: a process of an older version writes its row still.
    audit_recorded = models.BigIntegerField(default=0, db_default=0)
    audit_dropped = models.BigIntegerField(default=0, db_default=0)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["node", "pid"]
        constraints = [models.UniqueConstraint(fields=["node", "pid"], name="worker_unique")]

    def __str__(self) -> str:
        return f"{self.node}:{self.pid}"
