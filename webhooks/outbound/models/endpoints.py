"""Endpoints: who wants to know what, how it is sent to them, and how they have fared lately."""

from __future__ import annotations

from typing import Any, TypedDict

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from integrations.contracts import clock
from integrations.models.base import PrefixedIdField, TenantOwned
from integrations.secrets import SecretUnreadable, masked, open_sealed, seal

MAX_IN_FLIGHT = 64
DEFAULT_IN_FLIGHT = 8
MAX_BATCH = 100
MAX_BATCH_WAIT = 300


class PayloadFormat(models.TextChoices):
    """`standard`: `{id, type, created, data: {object}}`. `flat`: `{id, event, occurred_at, data}`, as automation tools map."""

    STANDARD = "standard", "Standard"
    FLAT = "flat", "Flat (automation tools)"


class Ordering(models.TextChoices):
    """Whether a delivery waits for those before it: `object` for those about the same object, `all` for every one."""

    NONE = "none", "None: as fast as possible"
    OBJECT = "object", "By object"
    ALL = "all", "All, one after the other"


class SigningKey(TypedDict):
    """One key of an endpoint. `scheme` is `v1` (`secret` is `whsec_...`) or `v1a` (`secret` is `whsk_...`, ed25519);
    `expires_at` (ISO 8601) is null for the newest one and the end of the overlap for those that were rotated out."""

    id: str
    scheme: str
    secret: str
    created: str
    expires_at: str | None


class Endpoint(TenantOwned):
    """A URL of the tenant's that wants events. `events` lists types, `payment.*` or `*`.

    With `channels` it gets only events that name one of them; with `filter` (webhooks.outbound.publishing.filters) only those
    that it matches. `batch_size` above 1 gathers events into one request, for at most `batch_wait` seconds.

    Keys and header values are sealed; deleting is soft, so that its deliveries stay readable. `disabled_reason` says why
    the hub itself switched it off; it is empty when a person did.
    """

    id = PrefixedIdField(prefix="we")
    name = models.CharField(max_length=100, blank=True)
    url = models.CharField(max_length=2000)
    events = models.JSONField(default=list)
    channels = models.JSONField(default=list, blank=True)
    filter = models.JSONField(null=True, blank=True)
    payload_format = models.CharField(max_length=10, choices=PayloadFormat.choices, default=PayloadFormat.STANDARD)
    ordering = models.CharField(max_length=10, choices=Ordering.choices, default=Ordering.NONE)
    batch_size = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_BATCH)],
        help_text="Events in one request; 1: no batches.",
    )
    batch_wait = models.PositiveSmallIntegerField(
        default=5, validators=[MinValueValidator(1), MaxValueValidator(MAX_BATCH_WAIT)], help_text="Seconds, at most."
    )
    max_in_flight = models.PositiveSmallIntegerField(
        default=DEFAULT_IN_FLIGHT,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_IN_FLIGHT)],
        help_text="Requests at once, over all workers.",
    )
    rate_per_second = models.FloatField(null=True, blank=True, help_text="Requests a second, at most; empty: no limit.")
    retry_delays = models.JSONField(
        default=list, blank=True, help_text="Seconds after the first, second ... failed try; empty: the hub's own schedule."
    )
    sealed_headers = models.TextField(blank=True, editable=False)
    sealed_secrets = models.TextField(editable=False)
    is_active = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True, editable=False)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    created = models.DateTimeField(default=clock.now, editable=False)
    updated = models.DateTimeField(default=clock.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["tenant", "id"], condition=Q(deleted_at__isnull=True), name="webhook_endpoint_of_tenant"),
        ]

    def __str__(self) -> str:
        return self.name or self.pk  # not the URL: it may hold a token

    def signing_keys(self) -> list[SigningKey]:
        """Return the signing keys, newest first, those that have expired included. Raises `SecretUnreadable`."""
        opened: list[SigningKey] = open_sealed(self.tenant_id, self.sealed_secrets)
        return opened

    def set_signing_keys(self, keys: list[SigningKey]) -> None:
        self.sealed_secrets = seal(self.tenant_id, keys)

    def headers(self) -> dict[str, str]:
        """Return the tenant's own headers in clear. Raises `SecretUnreadable`."""
        opened: dict[str, str] = open_sealed(self.tenant_id, self.sealed_headers) if self.sealed_headers else {}
        return opened

    def masked_headers(self) -> dict[str, str] | None:
        """Return the headers with what may be shown of their values; None where they can't be opened."""
        try:
            return {name: masked(value) for name, value in self.headers().items()}
        except SecretUnreadable:
            return None

    def set_headers(self, headers: dict[str, str]) -> None:
        self.sealed_headers = seal(self.tenant_id, headers) if headers else ""


class Breaker(models.TextChoices):
    CLOSED = "closed", "Closed"
    OPEN = "open", "Open"
    HALF_OPEN = "half_open", "Half-open"


class EndpointHealth(TenantOwned):
    """How an endpoint has fared: one row for each, in a table of its own since every settled batch writes it.

    Its row lock makes the limits of an endpoint exact over all workers: who claims for it holds it. `failures` counts failed
    attempts in a row since `failing_since`; `warned` is the last rung of the ladder told (0, 50, 70 or 90 per cent).
    `paused_until` is what a receiver asked for by `Retry-After`.
    """

    endpoint = models.OneToOneField(Endpoint, on_delete=models.CASCADE, related_name="health")
    tokens = models.FloatField(default=1.0)
    tokens_at = models.DateTimeField(null=True, blank=True)
    paused_until = models.DateTimeField(null=True, blank=True)
    breaker = models.CharField(max_length=10, choices=Breaker.choices, default=Breaker.CLOSED)
    breaker_until = models.DateTimeField(null=True, blank=True)
    openings = models.PositiveIntegerField(default=0, help_text="Times in a row it opened; the wait grows with it.")
    failures = models.PositiveIntegerField(default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    warned = models.PositiveSmallIntegerField(default=0)
    last_success_at = models.DateTimeField(null=True, blank=True)
    last_failure_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name_plural = "endpoint health"

    def __str__(self) -> str:
        return f"health of {self.endpoint_id}"


def subscribes(patterns: list[Any], event_type: str) -> bool:
    """Tell whether a list of types and wildcards takes in `event_type`; `payment.*` takes in `payment.refund.failed` too."""
    return any(
        pattern == "*" or pattern == event_type or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))
        for pattern in patterns
        if isinstance(pattern, str)
    )
