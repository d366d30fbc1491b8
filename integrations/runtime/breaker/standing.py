"""How circuits stand, over all providers."""

from __future__ import annotations

from copy import copy
from datetime import datetime

from django.db.models import Case, CharField, Count, F, Q, Value, When
from django.db.models.functions import Concat

from integrations.models import BreakerState
from integrations.runtime.breaker import circuit, rows

_HELD = ~Q(forced="") & (Q(forced_until__isnull=True) | Q(forced_until__gt=F("moment")))


def counted(row: BreakerState, now: datetime) -> tuple[int, int]:
    """Return (failures, calls) as they count at this time: what was written down of a closed circuit has faded since. Of one
    that is open, what it opened for. Successes that processes have not written down yet are missing."""
    live = copy(row)
    if row.state == circuit.State.CLOSED:
        circuit.fade(live, now)
    return live.failures, live.failures + live.successes


def by_provider() -> dict[tuple[str, str], int]:
    """Return {(provider, state): number of its circuits}, in the words of `circuit.shown`, of all circuits that a call ever
    went through."""
    standing = Case(When(_HELD, then=Concat(Value("held_"), "forced")), default="state", output_field=CharField())
    found = BreakerState.objects.annotate(moment=rows.moment()).annotate(standing=standing).order_by()
    counted = found.values("provider", "standing").annotate(number=Count("pk"))
    return {(each["provider"], each["standing"]): each["number"] for each in counted}
