"""Telling people that a circuit has opened, and that it has closed: one open alert for each circuit."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from integrations.models import Alert, BreakerState
from integrations.runtime.alerts import raise_alert

KIND = "circuit_open"
CALM = timedelta(minutes=10)
"""A circuit that opens again so soon after it closed opens the same alert again: one that flaps is one story."""


def opened(row: BreakerState, *, tenant_id: int | None, now: datetime) -> None:
    """Raise the circuit's alert, or count it up: the tenant's whose own host it is, else the installation's. The circuit's row
    is locked, so that nobody else does the same meanwhile."""
    alerts = _alerts(row, tenant_id=tenant_id)
    if not alerts.filter(resolved_at__isnull=True).exists():
        lately = alerts.filter(resolved_at__gt=now - CALM).order_by("-resolved_at").values("pk")[:1]
        Alert.objects.filter(pk__in=lately).update(resolved_at=None)
    again = f", {row.openings} times in a row" if row.openings > 1 else ""
    raise_alert(
        tenant_id=tenant_id,
        kind=KIND,
        subject=row.key,
        message=f"Too many calls to {row.provider} at {row.host} failed{again}: it is given a pause. {row.last_error}".strip(),
        level=(Alert.Level.CRITICAL if tenant_id is None else Alert.Level.WARNING).value,
    )


def closed(row: BreakerState, *, now: datetime) -> None:
    """Resolve the circuit's alert, whoever has it."""
    Alert.objects.filter(kind=KIND, subject=row.key[:150], resolved_at__isnull=True).update(resolved_at=now)


def _alerts(row: BreakerState, *, tenant_id: int | None) -> QuerySet[Alert]:
    whose = Q(tenant_id__isnull=True) if tenant_id is None else Q(tenant_id=tenant_id)
    return Alert.objects.filter(whose, kind=KIND, subject=row.key[:150])
