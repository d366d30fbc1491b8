"""Circuits of one account: whose they are, and that they go when it does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import BigIntegerField, Case, Exists, F, Func, OuterRef, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Cast

from integrations.contracts import clock
from integrations.models import BreakerState, Config
from integrations.runtime.breaker import rows, telling
from integrations.runtime.breaker.memory import MEMORY

UNUSED = timedelta(days=30)
"""A circuit of which nothing was written down for so long is forgotten: its host may be nobody's any more. The next call makes
it anew, closed; an open one would let that call through as well."""
_OF_ONE = r"^[^|]*\|[^|]*\|[0-9]{1,18}$"


def with_account(circuits: QuerySet[BreakerState]) -> QuerySet[BreakerState]:
    """Add `account`: the id of the config that has the circuit to itself, None for one that a provider's accounts share."""
    last = Func(F("key"), Value("|"), Value(3), function="split_part", output_field=TextField())
    return circuits.annotate(account=Case(When(key__regex=_OF_ONE, then=Cast(last, BigIntegerField())), default=None))


def left_over() -> QuerySet[Any]:
    """Return the circuits that nobody needs: of accounts that were removed, and of which nothing was written down for `UNUSED`,
    unless a person holds them."""
    orphaned = Q(account__isnull=False) & ~Exists(Config.unscoped.filter(pk=OuterRef("account")))
    now = rows.moment()
    held = ~Q(forced="") & (Q(forced_until__isnull=True) | Q(forced_until__gt=now))
    unused = Q(updated__lt=clock.now() - UNUSED) & ~held
    return with_account(BreakerState.objects.all()).filter(orphaned | unused)


def forget(keys: list[Any]) -> int:
    """Delete these circuits and resolve their alerts; return how many there were. Called inside the transaction
    that holds them."""
    gone = BreakerState.objects.filter(pk__in=keys)
    for row in gone:
        telling.closed(row, now=clock.now())
        MEMORY.forget(row.key)
    return gone.delete()[0]
