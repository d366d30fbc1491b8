"""Asking a gateway for the money, the second step after an approval, and going to the next gateway."""

from __future__ import annotations

from integrations.contracts.errors import OutcomeUnknown, ProviderError
from integrations.contracts.payment import PaymentResult, PaymentState
from integrations.models import QueueItem, QueueState
from integrations.runtime.jobs import Call, ProviderJob
from payments.gateway import call_about, main_operation, payment_request
from payments.jobs.failures import failure_of
from payments.ledger import move
from payments.models import Operation, Payment, Status
from payments.outcomes import Report, apply_report
from payments.routing import fall_back, may_fall_back
from payments.schedule import schedule_poll
from payments.transitions import is_open


class AuthorizeJob(ProviderJob):
    """Asks the gateway for the money: once, or again with the same key where the gateway knows it by that."""

    kind = "payment.authorize"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        payment = Payment.objects.get(pk=item.payload["payment"])
        operation = Operation.objects.get(pk=item.payload["operation"])
        if not is_open(payment.status) or payment.provider_ref or operation.config_id != payment.config_id:
            return None
        request = payment_request(payment, operation, attempt=item.attempts + 1)
        return call_about(payment, "authorize", request, begins=not item.attempts)

    def gives_up(self, item: QueueItem, error: ProviderError) -> bool:
        payment = Payment.objects.get(pk=item.payload["payment"])
        return may_fall_back(payment, failure_of(error))

    def succeeded(self, item: QueueItem, result: PaymentResult) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        operation = Operation.objects.select_for_update().get(pk=item.payload["operation"])
        if result.state is PaymentState.FAILED and result.failure is not None and is_open(payment.status):
            operation.provider_ref = result.provider_ref
            if fall_back(payment, operation, result.failure):
                return
            payment.refresh_from_db()
        payment = apply_report(payment.pk, Report.of_result(result, actor="gateway", reason="accepted by the gateway"))
        schedule_poll(payment, 0)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        operation = Operation.objects.select_for_update().get(pk=item.payload["operation"])
        failure = failure_of(error)
        if not is_open(payment.status) or operation.config_id != payment.config_id or fall_back(payment, operation, failure):
            return
        payment.refresh_from_db()
        if error.provider_code == "cancelled":
            move(payment, Status.CANCELLED, actor="hub", reason=error.message)
        else:
            move(payment, Status.FAILED, actor="gateway", reason=error.message, failure=failure)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        if not is_open(payment.status):
            return QueueState.COMPLETED
        move(payment, Status.UNKNOWN, actor="hub", reason=error.message)
        schedule_poll(payment, 0)
        return QueueState.UNKNOWN


class CompleteJob(ProviderJob):
    """Takes (or holds) what the payer has approved."""

    kind = "payment.complete"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        payment = Payment.objects.get(pk=item.payload["payment"])
        operation = main_operation(payment)
        if not is_open(payment.status) or operation is None:
            return None
        return call_about(payment, "complete", payment_request(payment, operation, completes=True))

    def succeeded(self, item: QueueItem, result: PaymentResult) -> None:
        report = Report.of_result(result, actor="gateway", reason="completed after the payer's approval")
        schedule_poll(apply_report(item.payload["payment"], report), 0)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        if is_open(payment.status):
            move(payment, Status.FAILED, actor="gateway", reason=error.message, failure=failure_of(error))

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        if not is_open(payment.status):
            return QueueState.COMPLETED
        move(payment, Status.UNKNOWN, actor="hub", reason=error.message)
        schedule_poll(payment, 0)
        return QueueState.UNKNOWN
