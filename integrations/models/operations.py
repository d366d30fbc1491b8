"""State that all processes share: who is alive, which circuit is open, how much of a rate is used, what needs a person."""

from __future__ import annotations

from django.db import models, transaction
from django.db.models import Q

from integrations.contracts import clock
from integrations.models.tenant import Tenant


class Heartbeat(models.Model):
    """A live process or shift. `group` is the process group that a supervisor starts and ends as one."""

    name = models.CharField(max_length=150, unique=True)
    kind = models.CharField(max_length=30)
    host = models.CharField(max_length=100)
    pid = models.IntegerField()
    group = models.CharField(max_length=100, blank=True)
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        indexes = [models.Index(fields=["kind", "beat_at"], name="heartbeat_kind")]

    def __str__(self) -> str:
        return self.name


class BreakerState(models.Model):
    """The circuit breaker of one provider host (and config, where the host is the tenant's own)."""

    class State(models.TextChoices):
        CLOSED = "closed", "Closed"
        OPEN = "open", "Open"
        HALF_OPEN = "half_open", "Half-open"

    key = models.CharField(max_length=250, unique=True)
    provider = models.CharField(max_length=50)
    host = models.CharField(max_length=200)
    state = models.CharField(max_length=10, choices=State.choices, default=State.CLOSED)
    window_started_at = models.DateTimeField()
    successes = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    opened_at = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True)
    openings = models.PositiveIntegerField(default=0, help_text="Times in a row it opened; the wait grows with it.")
    updated = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.key}: {self.state}"


class RateBucket(models.Model):
    """A token bucket shared by all processes: `tokens` as of `updated_at`."""

    key = models.CharField(max_length=200, unique=True)
    tokens = models.FloatField()
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.key

    @classmethod
    def take(cls, key: str, *, rate: float, burst: int) -> tuple[float, float | None]:
        """Take one token of `key`: `rate` come back per second, at most `burst` are saved up. Exact across processes.

        Returns (tokens left, None), or (tokens left, seconds until there is one) where there was none to take.
        """
        now = clock.now()
        with transaction.atomic():
            bucket = None
            while bucket is None:  # one that nobody used for long is purged, if need be between these two lines
                cls.objects.get_or_create(key=key, defaults={"tokens": float(burst), "updated_at": now})
                bucket = cls.objects.select_for_update().filter(key=key).first()
            elapsed = max(0.0, (now - bucket.updated_at).total_seconds())
            tokens = min(float(burst), bucket.tokens + elapsed * rate)
            wait = None if tokens >= 1.0 else (1.0 - tokens) / rate
            if wait is None:
                tokens -= 1.0
            # A clock that lags behind another process's must not hand the same seconds out twice.
            cls.objects.filter(pk=bucket.pk).update(tokens=tokens, updated_at=max(now, bucket.updated_at))
        return tokens, wait


class Alert(models.Model):
    """Something that a person should know; at most one open alert of a tenant, kind and subject."""

    class Level(models.TextChoices):
        WARNING = "warning", "Warning"
        CRITICAL = "critical", "Critical"

    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=40)
    subject = models.CharField(max_length=150)
    level = models.CharField(max_length=10, choices=Level.choices, default=Level.WARNING)
    message = models.TextField()
    count = models.PositiveIntegerField(default=1)
    created = models.DateTimeField(default=clock.now, editable=False)
    updated = models.DateTimeField(auto_now=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-updated"]
        # Two constraints, since PostgreSQL 14 can't treat nulls as equal in one.
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "kind", "subject"], condition=Q(resolved_at__isnull=True), name="one_open_alert"
            ),
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=Q(resolved_at__isnull=True, tenant__isnull=True),
                name="one_open_installation_alert",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}"
