"""Saying what money is for that came in by itself."""

from __future__ import annotations

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.models import Tenant
from integrations.runtime.alerts import resolve_alert
from payments.ledger import publish, write_entry
from payments.models import Payment, Status


def allocate_payment(*, tenant: Tenant, payment_id: str, reference_type: str, reference_id: str, actor: str) -> Payment:
    """Tie unallocated money to a reference and publish `payment.allocated`. Raises `Conflict` where it is tied already, and
    where the gateway has not confirmed it: whoever is told would credit money that may not exist."""
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=payment_id, tenant=tenant)
        if payment.allocated:
            raise Conflict("This payment is allocated already.", attr="payment")
        if payment.status != Status.SUCCEEDED:
            raise Conflict(
                f"This money is {payment.status}: it can be allocated once the gateway has confirmed it.", attr="payment"
            )
        payment.reference_type, payment.reference_id = reference_type, reference_id
        payment.allocated, payment.updated = True, clock.now()
        payment.save()
        write_entry(payment, actor=actor, reason=f"allocated to {reference_type} {reference_id}", from_status=payment.status)
        resolve_alert(tenant_id=tenant.pk, kind="payment_unallocated", subject=payment.pk)
        publish(payment, "payment.allocated", key=payment.pk)
    return payment
