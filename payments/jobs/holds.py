"""Taking and releasing what is held, and asking what became of a capture whose answer was lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from integrations.contracts import clock
from integrations.contracts.errors import OutcomeUnknown, ProviderError
from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.contracts.payment import CaptureFact, CaptureResult, PaymentResult, PaymentState, RefundState
from integrations.models import Alert, QueueItem, QueueState
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import Call, ProviderJob
from integrations.runtime.queue import enqueue
from payments.facts import release, settle_capture
from payments.gateway import call_about, capture_request, void_request
from payments.jobs.failures import failure_of
from payments.ledger import failure_form, settle_held, write_entry
from payments.models import Operation, OperationStatus, Payment, Status
from payments.outcomes import Report, apply_report
from payments.references import note_references
from payments.schedule import AGAIN, schedule_question

_UNDECIDED = (OperationStatus.PENDING, OperationStatus.UNKNOWN)


def _locked(item: QueueItem) -> tuple[Payment, Operation]:
    """Lock payment, then operation: always in this order."""
    payment_id = Operation.objects.values_list("payment_id", flat=True).get(pk=item.payload["operation"])
    payment = Payment.objects.select_for_update().get(pk=payment_id)
    return payment, Operation.objects.select_for_update().get(pk=item.payload["operation"])


def apply_capture(payment: Payment, operation: Operation, result: CaptureResult, *, actor: str, reason: str) -> None:
    """Apply a gateway's word on one capture to the locked payment and derive its status."""
    note_references(payment, result.references, object_type="payment", object_id=payment.pk)
    fact = CaptureFact(
        provider_ref=result.provider_ref,
        money=result.money or Money(operation.amount, payment.currency),
        state=result.state,
        receipt=result.receipt,
        failure=result.failure,
    )
    settle_capture(payment, operation, fact, actor=actor)
    if operation.status == OperationStatus.SUCCEEDED and operation.final:
        release(payment, actor=actor, reason="released by the final capture")
    settle_held(payment, actor=actor, reason=reason)
    if result.payment is not None:
        apply_report(payment.pk, Report.of_result(result.payment, actor=actor, reason=reason))


class CaptureJob(ProviderJob):
    """Takes what is held: once, or again with the same key where the gateway knows it by that."""

    kind = "payment.capture"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        operation = Operation.objects.select_related("payment").get(pk=item.payload["operation"])
        if operation.status != OperationStatus.PENDING or operation.provider_ref:
            return None
        return call_about(operation.payment, "capture", capture_request(operation))

    def succeeded(self, item: QueueItem, result: CaptureResult) -> None:
        payment, operation = _locked(item)
        apply_capture(payment, operation, result, actor="gateway", reason="captured by the gateway")
        if operation.status in _UNDECIDED:
            check_capture(item, 0)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment, operation = _locked(item)
        result = CaptureResult(state=RefundState.FAILED, failure=failure_of(error))
        apply_capture(payment, operation, result, actor="gateway", reason=error.message)
        schedule_question(payment, key=f"after:{operation.pk}")  # a refusal often means that the truth is another one

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        payment, operation = _locked(item)
        if operation.status not in _UNDECIDED:
            return QueueState.COMPLETED
        apply_capture(payment, operation, CaptureResult(state=RefundState.UNKNOWN), actor="hub", reason=error.message)
        check_capture(item, 0)
        return QueueState.UNKNOWN


def check_capture(item: QueueItem, number: int) -> None:
    """Queue the question what became of a capture."""
    enqueue(
        tenant_id=item.tenant_id,
        kind="payment.capture_check",
        payload={"operation": item.payload["operation"], "number": number},
        reference=(item.reference_type, item.reference_id),
        key=f"{item.payload['operation']}:{number}",
        due_at=clock.now() + (CaptureCheckJob.waits[number - 1] if number else timedelta(seconds=30)),
        config_id=item.config_id,
    )


class CaptureCheckJob(ProviderJob):
    """Asks the gateway what became of a capture; after some questions a person is called."""

    kind = "payment.capture_check"
    max_attempts = 3
    waits = (AGAIN, timedelta(minutes=10), timedelta(hours=1))

    def prepare(self, item: QueueItem) -> Call | None:
        operation = Operation.objects.select_related("payment").get(pk=item.payload["operation"])
        if operation.status not in _UNDECIDED:
            return None
        return call_about(operation.payment, "capture_status", capture_request(operation))

    def succeeded(self, item: QueueItem, result: CaptureResult) -> None:
        payment, operation = _locked(item)
        if result.state in (RefundState.SUCCEEDED, RefundState.FAILED):
            apply_capture(payment, operation, result, actor="gateway", reason="learned by asking the gateway")
            return
        last = int(item.payload["number"]) >= len(self.waits)
        if last and result.state is RefundState.UNKNOWN and operation.status == OperationStatus.UNKNOWN:
            # The gateway keeps what it took, and after an hour knows nothing of this: it never arrived.
            gone = CaptureResult(state=RefundState.FAILED, failure=Failure.of("never_arrived"))
            apply_capture(payment, operation, gone, actor="hub", reason="the gateway never heard of the capture")
            return
        self._again(item, payment, operation, "The gateway did not say what became of the capture")

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment, operation = _locked(item)
        self._again(item, payment, operation, error.message)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self.failed(item, error)
        return QueueState.COMPLETED

    def _again(self, item: QueueItem, payment: Payment, operation: Operation, reason: str) -> None:
        number = int(item.payload["number"])
        if operation.status not in _UNDECIDED:
            return
        if number < len(self.waits):
            check_capture(item, number + 1)
            return
        operation.status, operation.updated = OperationStatus.NEEDS_REVIEW, clock.now()
        operation.save()
        raise_alert(
            tenant_id=payment.tenant_id,
            kind="capture_needs_review",
            subject=operation.pk,
            message=reason,
            level=Alert.Level.CRITICAL.value,
        )


class VoidJob(ProviderJob):
    """Releases a hold, or calls off a request that nobody has paid."""

    kind = "payment.void"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        operation = Operation.objects.select_related("payment").get(pk=item.payload["operation"])
        if operation.status != OperationStatus.PENDING:
            return None
        abandoned = bool(item.payload.get("abandoned"))
        return call_about(operation.payment, "void", void_request(operation, abandoned=abandoned))

    def succeeded(self, item: QueueItem, result: PaymentResult) -> None:
        payment, operation = _locked(item)
        state = result.state
        if state is PaymentState.CANCELLED and item.payload.get("abandoned"):
            state = PaymentState.EXPIRED
        called_off = state in (PaymentState.CANCELLED, PaymentState.EXPIRED)
        reason = "called off" if called_off else "could not be called off any more"
        report = Report.of_result(result, actor="gateway", reason=reason)
        payment = apply_report(payment.pk, replace(report, state=state))
        operation.refresh_from_db()
        if operation.status not in _UNDECIDED:
            return
        done = called_off and payment.status in (Status.CANCELLED, Status.EXPIRED, Status.SUCCEEDED)
        operation.status = OperationStatus.SUCCEEDED if done else OperationStatus.FAILED
        operation.failure = None if done else failure_form(Failure.of("invalid_state"))
        operation.updated = clock.now()
        operation.save()

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment, operation = _locked(item)
        operation.status, operation.failure = OperationStatus.FAILED, failure_form(failure_of(error))
        operation.updated = clock.now()
        operation.save()
        reason = f"not called off: {error.message}"
        write_entry(payment, actor="gateway", reason=reason, from_status=payment.status, operation=operation)
        schedule_question(payment, key=f"after:{operation.pk}")

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        payment, operation = _locked(item)
        if operation.status not in _UNDECIDED:
            return QueueState.COMPLETED
        operation.status, operation.updated = OperationStatus.UNKNOWN, clock.now()
        operation.save()
        write_entry(payment, actor="hub", reason=error.message, from_status=payment.status, operation=operation)
        schedule_question(payment, key=f"after:{operation.pk}", wait=AGAIN)
        return QueueState.UNKNOWN
