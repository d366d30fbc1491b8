"""Asking the gateway whether money that an unsigned notice told of is real."""

from __future__ import annotations

from datetime import timedelta

from integrations.contracts import clock
from integrations.contracts.errors import OutcomeUnknown, ProviderError
from integrations.contracts.payment import PaymentResult, PaymentState, ReceiptQuery
from integrations.models import QueueItem, QueueState
from integrations.runtime.jobs import Call, LocalJob, ProviderJob
from integrations.runtime.queue import enqueue
from payments.gateway import call_about, callback_url
from payments.jobs.asking import needs_review
from payments.models import Payment
from payments.outcomes import Report, apply_report
from payments.transitions import is_open


class VerifyIncomingJob(ProviderJob):
    """An unsigned notice says that a customer paid: asks the gateway whether the receipt is real."""

    kind = "payment.verify_incoming"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        payment = Payment.objects.get(pk=item.payload["payment"])
        if not is_open(payment.status):
            return None
        query = ReceiptQuery(receipt=payment.receipt, callback_url=callback_url(item.payload["hook_token"]))
        return call_about(payment, "receipt_status", query)

    def succeeded(self, item: QueueItem, result: PaymentResult) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        if result.state is PaymentState.PROCESSING:
            enqueue(
                tenant_id=payment.tenant_id,
                kind="payment.verify_late",
                payload={"payment": payment.pk},
                reference=("payment", payment.pk),
                due_at=clock.now() + timedelta(minutes=15),
            )
            return
        apply_report(payment.pk, Report.of_result(result, actor="gateway", reason="receipt confirmed by the gateway"))

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        needs_review(payment, reason=f"An unsigned notice of money could not be checked: {error.message}")

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self.failed(item, error)
        return QueueState.NEEDS_REVIEW


class VerifyLateJob(LocalJob):
    """The gateway took the question about a receipt and never answered."""

    kind = "payment.verify_late"

    def run(self, item: QueueItem) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        needs_review(payment, reason="The gateway did not answer whether this receipt is real")
