"""Asking the gateway now, or soon."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.payment import PaymentResult, PaymentState
from integrations.contracts.payment_features import GatewayOperation
from integrations.runtime.execute import execute
from payments.gateway import call_about, payment_features, payment_query
from payments.models import Payment
from payments.outcomes import Report, apply_report
from payments.schedule import schedule_question
from payments.transitions import is_held, is_open

FRESH = timedelta(seconds=15)


def sync_payment(*, payment: Payment, actor: str, decided_too: bool = False) -> Payment:
    """Ask the gateway how an open or held payment stands, apply what it says, and return it.

    A decided one is returned as it is, unless `decided_too`: then refunds and disputes made at the gateway come in. Raises the
    `ProviderError` of the question; nothing has changed then.
    """
    if not (is_open(payment.status) or is_held(payment.status) or decided_too):
        return payment
    payment_features(payment).check(GatewayOperation.SYNC.value)
    call = call_about(payment, "payment_status", payment_query(payment))
    result: PaymentResult = execute(call, tenant_id=payment.tenant_id)
    Payment.objects.filter(pk=payment.pk).update(checked_at=clock.now())
    if result.state is not PaymentState.PROCESSING:
        with transaction.atomic():
            apply_report(payment.pk, Report.of_result(result, actor=actor, reason="learned by asking the gateway"))
    payment.refresh_from_db()
    return payment


def look_soon(payment: Payment) -> None:
    """Somebody reads an open payment that was not asked about just now: have a worker ask the gateway, without waiting."""
    seen = payment.checked_at or payment.updated
    if not is_open(payment.status) or not payment.provider_ref or clock.now() - seen < FRESH:
        return
    if GatewayOperation.SYNC in payment_features(payment).operations:
        schedule_question(payment, key="read")
