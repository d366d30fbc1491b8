"""Which payments, refunds and setups are still going on: what the queue did for them is kept, since they count it."""

from __future__ import annotations

from integrations.events import StillOpenAsked
from payments.models import Operation, OperationStatus, Payment, SetupIntent, SetupStatus, Status

_ENDED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED)
_SETUP_ENDED = (SetupStatus.SUCCEEDED, SetupStatus.FAILED, SetupStatus.CANCELLED, SetupStatus.EXPIRED)
_DONE = (OperationStatus.SUCCEEDED, OperationStatus.FAILED)


def still_open(question: StillOpenAsked) -> list[tuple[str, str]]:
    """Return those of the references that are a payment, a refund or a setup that has not ended. A payment goes on, too, while
    anything is done at its gateway (a capture, a refund)."""
    asked: dict[str, set[str]] = {}
    for kind, of in question.references:
        asked.setdefault(kind, set()).add(of)
    payments = Payment.unscoped.filter(tenant_id=question.tenant_id, pk__in=asked.get("payment", ()))
    setups = SetupIntent.unscoped.filter(tenant_id=question.tenant_id, pk__in=asked.get("setup", ()))
    operations = Operation.unscoped.filter(tenant_id=question.tenant_id).exclude(status__in=_DONE).order_by()
    found = {
        "payment": {
            *payments.exclude(status__in=_ENDED).values_list("pk", flat=True),
            *operations.filter(payment_id__in=asked.get("payment", ())).values_list("payment_id", flat=True),
        },
        "refund": set(operations.filter(pk__in=asked.get("refund", ())).values_list("pk", flat=True)),
        "setup": set(setups.exclude(status__in=_SETUP_ENDED).values_list("pk", flat=True)),
    }
    return [(kind, of) for kind, ids in found.items() for of in sorted(ids)]
