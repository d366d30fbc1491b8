"""State that all processes share: who is alive, which circuit is open, how much of a rate is used, what needs a person."""

from __future__ import annotations

from django.db import connection, models
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
    last_error = models.TextField(blank=True, default="", db_default="")
    forced = models.CharField(
        max_length=10,
        default="",
        db_default="",
        choices=[("open", "Held open"), ("closed", "Held closed")],
        blank=True,
        help_text="A person holds it so, whatever the calls say.",
    )
    forced_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    forced_until = models.DateTimeField(null=True, blank=True, help_text="Empty: until somebody lets go.")
    updated = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.key.replace("|", " · ")


# Of the row `b` that stands, at the time `EXCLUDED.updated_at`. A clock that lags hands no second out twice; one that was put
# back by more than a few seconds is believed, or nobody would get a token until it is as late as before.
REFILLED = """
    LEAST(%(burst)s, b.tokens
        + GREATEST(0, EXTRACT(EPOCH FROM EXCLUDED.updated_at - b.updated_at)::float8) * %(rate)s)
"""
TOUCHED = """
    CASE WHEN b.updated_at > EXCLUDED.updated_at + interval '5 seconds' THEN EXCLUDED.updated_at
    ELSE GREATEST(b.updated_at, EXCLUDED.updated_at) END
"""
NOW = "COALESCE(%(now)s::timestamptz, clock_timestamp())"
ENOUGH = "0.999"  # times are rounded to microseconds; what is missing to a whole token is owed

_TAKE = f"""
INSERT INTO integrations_ratebucket AS b (key, tokens, updated_at, blocked_why, used)
VALUES (%(key)s, %(burst)s - 1, {NOW}, '', 0)
ON CONFLICT (key) DO UPDATE SET tokens = {REFILLED} - 1, updated_at = {TOUCHED}
WHERE {REFILLED} >= {ENOUGH}
RETURNING tokens
"""  # noqa: S608 constants only
_LEFT = f"""
INSERT INTO integrations_ratebucket AS b (key, tokens, updated_at, blocked_why, used)
VALUES (%(key)s, %(burst)s, {NOW}, '', 0)
ON CONFLICT (key) DO UPDATE SET tokens = {REFILLED}, updated_at = {TOUCHED}
RETURNING tokens
"""  # noqa: S608 constants only


class RateBucket(models.Model):
    """A token bucket shared by all processes: `tokens` as of `updated_at`.

    `blocked_until` is what the other side asked for (429, `Retry-After`, its reset headers); `day` and `used` count towards
    a daily quota.
    """

    key = models.CharField(max_length=200, unique=True)
    tokens = models.FloatField()
    updated_at = models.DateTimeField()
    blocked_until = models.DateTimeField(null=True, blank=True)
    blocked_why = models.CharField(max_length=200, blank=True, default="", db_default="")
    day = models.DateField(null=True, blank=True)
    used = models.PositiveIntegerField(default=0, db_default=0)

    def __str__(self) -> str:
        return self.key

    @classmethod
    def take(cls, key: str, *, rate: float, burst: int) -> tuple[float, float | None]:
        """Take one token of `key`: `rate` come back per second, at most `burst` are saved up. Exact across processes, and
        across machines whose clocks differ: the database's is the one that counts.

        Returns (tokens left, None), or (tokens left, seconds until there is one) where there was none to take.
        """
        given = {"key": key, "rate": rate, "burst": float(burst), "now": clock.injected()}
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, given)
            taken = cursor.fetchone()
            if taken is not None:
                return max(0.0, taken[0]), None
            cursor.execute(_LEFT, given)
            tokens: float = (cursor.fetchone() or (float(burst),))[0]
        return tokens, max(0.0, 1.0 - tokens) / rate


class RateSlot(models.Model):
    """One call that is being made now, where an account may make so many at once; it lapses with its caller."""

    key = models.CharField(max_length=200)
    lapses_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["key", "lapses_at"], name="rate_slot_key")]

    def __str__(self) -> str:
        return self.key


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
