"""Circuits as the database has them, at the database's time: machines whose clocks differ agree on when a wait is over."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import DateTimeField, Value
from django.db.models.functions import Now

from integrations.contracts import clock
from integrations.models import BreakerState


def moment() -> Any:
    """Return the expression for the time now: the injected clock's where there is one."""
    injected = clock.injected()
    return Now() if injected is None else Value(injected, output_field=DateTimeField())


def find(key: str) -> tuple[BreakerState, datetime] | None:
    """Return the circuit and the time; None where nothing was ever written down of it."""
    row = BreakerState.objects.annotate(moment=moment()).filter(key=key).first()
    return (row, row.moment) if row is not None else None


def lock(key: str) -> tuple[BreakerState, datetime]:
    """Return the circuit, locked until the transaction ends, and the time. Raises `BreakerState.DoesNotExist`."""
    row = BreakerState.objects.annotate(moment=moment()).select_for_update(of=("self",)).get(key=key)
    return row, row.moment


def lock_or_make(key: str, *, provider: str, host: str) -> tuple[BreakerState, datetime]:
    """Return the circuit, locked, and the time; a closed one is made where there is none."""
    try:
        return lock(key)
    except BreakerState.DoesNotExist:
        make(key, provider=provider, host=host)
        return lock(key)


def make(key: str, *, provider: str, host: str) -> None:
    """Make a closed circuit, if nobody else has meanwhile."""
    fresh = BreakerState(key=key, provider=provider[:50], host=host[:200], window_started_at=clock.now())
    BreakerState.objects.bulk_create([fresh], ignore_conflicts=True)
