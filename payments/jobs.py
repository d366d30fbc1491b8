"""What the queue does for payments: ask for one, ask about one, refund, give up and call a person."""

from __future__ import annotations

from datetime import timedelta

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import OutcomeUnknown, ProviderError, UnsupportedOperation
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    Failure,
    PaymentResult,
    PaymentState,
    ReceiptQuery,
    RefundRequest,
    RefundResult,
    RefundState,
)
from integrations.models import QueueItem, QueueState
from integrations.runtime.jobs import Call, LocalJob, ProviderJob
from integrations.runtime.queue import enqueue
from payments.gateway import callback_url, gateway_class, payment_query, payment_request
from payments.ledger import move
from payments.models import Operation, OperationStatus, Payment, Status
from payments.outcomes import Report, apply_report, schedule_poll
from payments.refunds import apply_refund, review_refund
from payments.transitions import is_open


def failure_of(error: ProviderError) -> Failure:
    """Return a call's final error as the payment's failure."""
    kind = "validation_error" if error.status_code in (400, 422) else "api_error"
    return Failure(
        code=error.code, message=error.message, type=kind, provider_code=error.provider_code, retryable=error.retryable
    )


def needs_review(payment: Payment, *, reason: str) -> None:
    """Hand a locked open payment to a person."""
    if is_open(payment.status) and payment.status != Status.NEEDS_REVIEW:
        move(payment, Status.NEEDS_REVIEW, actor="hub", reason=reason)


class AuthorizeJob(ProviderJob):
    """Asks the gateway for the money, at most once."""

    kind = "payment.authorize"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        payment = Payment.objects.get(pk=item.payload["payment"])
        if not is_open(payment.status) or payment.provider_ref:
            return None
        operation = Operation.objects.get(pk=item.payload["operation"])
        return Call(
            Capability.PAYMENT,
            "authorize",
            (payment_request(payment, operation),),
            config_id=payment.config_id,
            reference=("payment", payment.pk),
        )

    def succeeded(self, item: QueueItem, result: PaymentResult) -> None:
        report = Report.of_result(result, actor="gateway", reason="accepted by the gateway")
        payment = apply_report(item.payload["payment"], report)
        if result.next_action and is_open(payment.status):
            payment.next_action = dict(result.next_action)
            payment.save(update_fields=["next_action"])
        schedule_poll(payment, 0)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        move(payment, Status.FAILED, actor="gateway", reason=error.message, failure=failure_of(error))

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        if not is_open(payment.status):
            return QueueState.COMPLETED
        move(payment, Status.UNKNOWN, actor="hub", reason=error.message)
        schedule_poll(payment, 0)
        return QueueState.UNKNOWN


class PollJob(ProviderJob):
    """Asks the gateway how an open payment stands: callbacks come once, or never."""

    kind = "payment.poll"
    max_attempts = 3

    def prepare(self, item: QueueItem) -> Call | None:
        payment = Payment.objects.get(pk=item.payload["payment"])
        if not is_open(payment.status):
            return None
        return Call(
            Capability.PAYMENT,
            "payment_status",
            (payment_query(payment),),
            config_id=payment.config_id,
            reference=("payment", payment.pk),
            external_reference=payment.provider_ref,
        )

    def succeeded(self, item: QueueItem, result: PaymentResult) -> None:
        if result.state is PaymentState.PROCESSING:
            self._again(item, Payment.objects.select_for_update().get(pk=item.payload["payment"]))
            return
        report = Report.of_result(result, actor="gateway", reason="learned by asking the gateway")
        self._again(item, apply_report(item.payload["payment"], report))

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        if isinstance(error, UnsupportedOperation):
            needs_review(payment, reason=error.message)
        else:
            self._again(item, payment)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self.failed(item, error)
        return QueueState.COMPLETED  # a question has no effect: it is simply asked again

    def _again(self, item: QueueItem, payment: Payment) -> None:
        if not is_open(payment.status):
            return
        silence = gateway_class(payment.provider).features.silence
        if clock.now() > payment.created + timedelta(seconds=silence):
            needs_review(payment, reason="The gateway has not decided in time")
            return
        schedule_poll(payment, int(item.payload["number"]) + 1)


class GiveUpJob(LocalJob):
    """Calls a person where a payment's outcome is unknown, it can't be asked for, and no callback came in time."""

    kind = "payment.give_up"

    def run(self, item: QueueItem) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        if payment.provider_ref:
            schedule_poll(payment, 0)
        else:
            needs_review(payment, reason="Asked for, no answer, and no callback since: look at the gateway's statement")


class ConfirmJob(ProviderJob):
    """A hint came from nobody knows whom: asks the gateway before anything is booked."""

    kind = "payment.confirm"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        payment = Payment.objects.get(pk=item.payload["payment"])
        if not is_open(payment.status) and payment.status == Status.SUCCEEDED:
            return None
        return Call(
            Capability.PAYMENT,
            "payment_status",
            (payment_query(payment),),
            config_id=payment.config_id,
            reference=("payment", payment.pk),
            external_reference=payment.provider_ref,
        )

    def succeeded(self, item: QueueItem, result: PaymentResult) -> None:
        if result.state is PaymentState.PROCESSING:
            return  # the hint was premature, or a lie; the polls go on
        report = Report.of_result(result, actor="gateway", reason="confirmed by the gateway after an unsigned notice")
        apply_report(item.payload["payment"], report)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        needs_review(payment, reason=f"An unsigned notice could not be checked: {error.message}")

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self.failed(item, error)
        return QueueState.NEEDS_REVIEW


class VerifyIncomingJob(ProviderJob):
    """An unsigned notice says that a customer paid: asks the gateway whether the receipt is real."""

    kind = "payment.verify_incoming"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        payment = Payment.objects.get(pk=item.payload["payment"])
        if not is_open(payment.status):
            return None
        query = ReceiptQuery(receipt=payment.receipt, callback_url=callback_url(item.payload["hook_token"]))
        return Call(
            Capability.PAYMENT,
            "receipt_status",
            (query,),
            config_id=payment.config_id,
            reference=("payment", payment.pk),
            external_reference=payment.receipt,
        )

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


class RefundJob(ProviderJob):
    """Gives money back, at most once."""

    kind = "payment.refund"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        refund = Operation.objects.select_related("payment").get(pk=item.payload["operation"])
        if refund.status != OperationStatus.PENDING or refund.provider_ref:
            return None
        return self.call("refund", refund)

    @staticmethod
    def call(operation: str, refund: Operation) -> Call:
        payment = refund.payment
        request = RefundRequest(
            refund_id=refund.pk,
            idempotency_key=refund.idempotency_key,
            payment_receipt=payment.receipt,
            payment_provider_ref=payment.provider_ref,
            money=Money(refund.amount, payment.currency),
            callback_url=callback_url(refund.hook_token),
            reason=refund.reason,
            provider_ref=refund.provider_ref,
        )
        return Call(
            Capability.PAYMENT,
            operation,
            (request,),
            config_id=payment.config_id,
            reference=("refund", refund.pk),
            external_reference=payment.receipt,
        )

    def succeeded(self, item: QueueItem, result: RefundResult) -> None:
        apply_refund(item.payload["operation"], result, actor="gateway", reason="refund accepted by the gateway")
        self._check_later(item)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        result = RefundResult(state=RefundState.FAILED, failure=failure_of(error))
        apply_refund(item.payload["operation"], result, actor="gateway", reason=error.message)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        refund = apply_refund(
            item.payload["operation"], RefundResult(state=RefundState.UNKNOWN), actor="hub", reason=error.message
        )
        if refund.status != OperationStatus.UNKNOWN:
            return QueueState.COMPLETED
        self._check_later(item)
        return QueueState.UNKNOWN

    def _check_later(self, item: QueueItem) -> None:
        enqueue(
            tenant_id=item.tenant_id,
            kind="payment.refund_check",
            payload={"operation": item.payload["operation"], "number": 0},
            reference=("refund", item.payload["operation"]),
            key=f"{item.payload['operation']}:0",
            due_at=clock.now() + timedelta(minutes=2),
            config_id=item.config_id,
        )


class RefundCheckJob(ProviderJob):
    """Asks the gateway what became of a refund that was not reported; after three questions a person is called."""

    kind = "payment.refund_check"
    max_attempts = 3
    waits = (timedelta(minutes=10), timedelta(hours=1))

    def prepare(self, item: QueueItem) -> Call | None:
        refund = Operation.objects.select_related("payment").get(pk=item.payload["operation"])
        if refund.status not in (OperationStatus.PENDING, OperationStatus.UNKNOWN):
            return None
        return RefundJob.call("refund_status", refund)

    def succeeded(self, item: QueueItem, result: RefundResult) -> None:
        if result.state not in (RefundState.PROCESSING, RefundState.UNKNOWN):
            apply_refund(item.payload["operation"], result, actor="gateway", reason="learned by asking the gateway")
            return
        self._again(item, "The gateway did not say what became of the refund")

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        self._again(item, error.message)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self._again(item, error.message)
        return QueueState.COMPLETED

    def _again(self, item: QueueItem, reason: str) -> None:
        number = int(item.payload["number"])
        if number < len(self.waits):
            enqueue(
                tenant_id=item.tenant_id,
                kind=self.kind,
                payload={**item.payload, "number": number + 1},
                reference=(item.reference_type, item.reference_id),
                key=f"{item.payload['operation']}:{number + 1}",
                due_at=clock.now() + self.waits[number],
                config_id=item.config_id,
            )
            return
        refund = Operation.objects.select_for_update().get(pk=item.payload["operation"])
        if refund.status in (OperationStatus.PENDING, OperationStatus.UNKNOWN):
            review_refund(refund, reason)


ALL = (AuthorizeJob, PollJob, GiveUpJob, ConfirmJob, VerifyIncomingJob, VerifyLateJob, RefundJob, RefundCheckJob)
