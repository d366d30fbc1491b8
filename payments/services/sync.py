"""Asking the gateway now."""

from __future__ import annotations

from django.db import transaction

from integrations.contracts.capabilities import Capability
from integrations.contracts.payment import PaymentResult, PaymentState
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from payments.gateway import gateway_class, payment_query
from payments.models import Payment
from payments.outcomes import Report, apply_report
from payments.transitions import is_open


def sync_payment(*, payment: Payment, actor: str) -> Payment:
    """Ask the gateway how an open payment stands, apply what it says, and return it; a decided one is returned as it is.

    Raises the `ProviderError` of the question; nothing has changed then.
    """
    if not is_open(payment.status):
        return payment
    gateway_class(payment.provider).features.check("sync")
    call = Call(
        Capability.PAYMENT,
        "payment_status",
        (payment_query(payment),),
        config_id=payment.config_id,
        reference=("payment", payment.pk),
        external_reference=payment.provider_ref,
    )
    result: PaymentResult = execute(call, tenant_id=payment.tenant_id)
    if result.state is not PaymentState.PROCESSING:
        with transaction.atomic():
            apply_report(payment.pk, Report.of_result(result, actor=actor, reason="learned by asking the gateway"))
    payment.refresh_from_db()
    return payment
