"""Giving money back, and asking what became of it."""

from __future__ import annotations

from datetime import timedelta

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest, OutcomeUnknown, ProviderError
from integrations.contracts.payment import RefundResult, RefundState
from integrations.models import QueueItem, QueueState
from integrations.runtime.jobs import Call, ProviderJob
from integrations.runtime.queue import enqueue
from payments.gateway import call_about, refund_request
from payments.jobs.failures import failure_of
from payments.models import Operation, OperationStatus
from payments.refunds import apply_refund, review_refund
from payments.schedule import schedule_question


def _call(operation: str, refund: Operation) -> Call:
    return call_about(refund.payment, operation, refund_request(refund), reference=("refund", refund.pk))


class RefundJob(ProviderJob):
    """Gives money back, at most once."""

    kind = "payment.refund"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        refund = Operation.objects.select_related("payment").get(pk=item.payload["operation"])
        if refund.status != OperationStatus.PENDING or refund.provider_ref:
            return None
        return _call("refund", refund)

    def succeeded(self, item: QueueItem, result: RefundResult) -> None:
        refused = result.state is RefundState.FAILED
        reason = result.failure.message if refused and result.failure else "refund accepted by the gateway"
        refund = apply_refund(item.payload["operation"], result, actor="gateway", reason=reason)
        if refused:
            self._look_why(refund)
        else:
            self._check_later(item)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        result = RefundResult(state=RefundState.FAILED, failure=failure_of(error))
        refund = apply_refund(item.payload["operation"], result, actor="gateway", reason=error.message)
        if isinstance(error, Conflict | InvalidRequest):
            self._look_why(refund)

    @staticmethod
    def _look_why(refund: Operation) -> None:
        """What stands in its way may be a refund that we don't know: one made by hand in the gateway's dashboard."""
        schedule_question(refund.payment, key=f"after:{refund.pk}")

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
        return _call("refund_status", refund)

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
