"""How circuits stand, over all providers."""

from __future__ import annotations

from django.db.models import Case, CharField, Count, F, Q, Value, When
from django.db.models.functions import Concat

from integrations.models import BreakerState
from integrations.runtime.breaker import rows

_HELD = ~Q(forced="") & (Q(forced_until__isnull=True) | Q(forced_until__gt=F("moment")))


def by_provider() -> dict[tuple[str, str], int]:
    """Return {(provider, state): number of its circuits}, in the words of `circuit.shown`, of all circuits that a call ever
    went through."""
    standing = Case(When(_HELD, then=Concat(Value("held_"), "forced")), default="state", output_field=CharField())
    found = BreakerState.objects.annotate(moment=rows.moment()).annotate(standing=standing).order_by()
    counted = found.values("provider", "standing").annotate(number=Count("pk"))
    return {(each["provider"], each["standing"]): each["number"] for each in counted}
