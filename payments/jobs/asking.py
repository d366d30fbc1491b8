"""Asking the gateway how a payment stands: by plan, because something was heard of it, or because its answer was lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from integrations.contracts import clock
from integrations.contracts.errors import OutcomeUnknown, ProviderError, UnsupportedOperation
from integrations.contracts.failures import Failure
from integrations.contracts.payment import PaymentResult, PaymentState
from integrations.contracts.payment_features import GatewayOperation
from integrations.models import Alert, QueueItem, QueueState
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import Call, LocalJob, ProviderJob
from payments.gateway import call_about, main_operation, payment_features, payment_query
from payments.ledger import move, publish
from payments.models import Operation, OperationKind, OperationStatus, Payment, Status
from payments.outcomes import Report, apply_report, book_stray_money
from payments.schedule import schedule_give_up, schedule_poll, under_way
from payments.services.cancel import call_off
from payments.transitions import is_held, is_open


def needs_review(payment: Payment, *, reason: str) -> None:
    """Hand a locked open payment to a person."""
    if is_open(payment.status) and payment.status != Status.NEEDS_REVIEW:
        move(payment, Status.NEEDS_REVIEW, actor="hub", reason=reason)


def note_checked(payment_id: str) -> None:
    """Remember that the gateway was asked just now."""
    Payment.objects.filter(pk=payment_id).update(checked_at=clock.now())


class PollJob(ProviderJob):
    """Asks the gateway how an open payment stands: callbacks come once, or never."""

    kind = "payment.poll"
    max_attempts = 3

    def prepare(self, item: QueueItem) -> Call | None:
        payment = Payment.objects.get(pk=item.payload["payment"])
        return call_about(payment, "payment_status", payment_query(payment)) if is_open(payment.status) else None

    def succeeded(self, item: QueueItem, result: PaymentResult) -> None:
        note_checked(item.payload["payment"])
        report = Report.of_result(result, actor="gateway", reason="learned by asking the gateway")
        if result.state is PaymentState.PROCESSING:  # on its way, which is not "nobody paid in time"
            payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
            self._again(item, payment, may_lapse=False)
            return
        payment = apply_report(item.payload["payment"], report)
        if result.state is PaymentState.ABSENT and is_open(payment.status) and self._never_arrived(payment):
            reason = "the gateway never heard of it"
            move(payment, Status.FAILED, actor="hub", reason=reason, failure=Failure.of("never_arrived"))
        self._again(item, payment)

    @staticmethod
    def _never_arrived(payment: Payment) -> bool:
        features = payment_features(payment)
        return clock.now() > payment.created + timedelta(seconds=features.validity + features.arrives_within)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        if not isinstance(error, UnsupportedOperation):
            self._again(item, payment, may_lapse=False)
        elif payment.provider_ref:
            needs_review(payment, reason=error.message)
        elif is_open(payment.status):
            schedule_give_up(payment)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self.failed(item, error)
        return QueueState.COMPLETED  # a question has no effect: it is simply asked again

    def _again(self, item: QueueItem, payment: Payment, *, may_lapse: bool = True) -> None:
        if not is_open(payment.status):
            return
        features, age = payment_features(payment), clock.now() - payment.created
        # That nobody paid in time is what an answer says, never the lack of one.
        waits = may_lapse and payment.status in (Status.REQUIRES_ACTION, Status.PROCESSING)
        if features.lapses and waits and age > timedelta(seconds=features.lapses):
            self._lapsed(payment, can_cancel=GatewayOperation.CANCEL in features.operations)
        elif age > timedelta(seconds=max(features.silence, features.lapses)):
            needs_review(payment, reason="The gateway has not decided in time")
            return
        schedule_poll(payment, int(item.payload["number"]) + 1)

    @staticmethod
    def _lapsed(payment: Payment, *, can_cancel: bool) -> None:
        """Nobody came to pay. Where the gateway can be told, the request is called off there first: it could still be paid."""
        if not can_cancel:
            reason = "the payer did not pay in time"
            move(payment, Status.EXPIRED, actor="hub", reason=reason, failure=Failure.of("payment_expired"))
        elif not under_way(payment, OperationKind.CANCEL):
            call_off(payment, actor="hub", abandoned=True)


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
    """Something was heard of a payment (a webhook, a hold that should have lapsed): asks the gateway and books its answer."""

    kind = "payment.confirm"
    max_attempts = 6

    def prepare(self, item: QueueItem) -> Call | None:
        payment = Payment.objects.get(pk=item.payload["payment"])
        operation = self._operation(item, payment)
        call = call_about(payment, "payment_status", payment_query(payment, operation))
        if operation is None or operation.config_id == payment.config_id:
            return call
        return replace(call, config_id=operation.config_id, external_reference=operation.provider_ref)

    @staticmethod
    def _operation(item: QueueItem, payment: Payment) -> Operation | None:
        asked = item.payload.get("operation")
        return payment.operations.filter(pk=asked).first() if asked else main_operation(payment)

    def succeeded(self, item: QueueItem, result: PaymentResult) -> None:
        note_checked(item.payload["payment"])
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        operation = self._operation(item, payment)
        if operation is not None and operation.config_id != payment.config_id:
            book_stray_money(payment, operation, result)
            return
        if result.state is PaymentState.PROCESSING and result.captures is None:
            self._settle_lost(payment)
            return  # the notice was premature, or a lie; the polls go on
        report = Report.of_result(result, actor="gateway", reason="confirmed by the gateway after a notice")
        payment = apply_report(payment.pk, report)
        schedule_poll(payment, 0)
        if result.state not in (PaymentState.UNKNOWN, PaymentState.ABSENT):
            self._settle_lost(payment)

    @staticmethod
    def _settle_lost(payment: Payment) -> None:
        """A release or withdrawal whose answer was lost: the gateway's word on the payment tells whether it happened. What did
        not may then be asked for again."""
        lost = payment.operations.filter(status=OperationStatus.UNKNOWN)
        called_off = payment.status in (Status.CANCELLED, Status.EXPIRED)
        if called_off:  # a release that happened was booked with the payment
            lost.filter(kind=OperationKind.CANCEL).update(status=OperationStatus.SUCCEEDED, updated=clock.now())
        else:
            kinds = [OperationKind.CANCEL, OperationKind.VOID]
            lost.filter(kind__in=kinds).update(status=OperationStatus.FAILED, updated=clock.now())

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        if isinstance(error, UnsupportedOperation):
            needs_review(payment, reason=f"A notice could not be checked: {error.message}")
        else:  # a gateway that is away for a while decides nothing; the polls go on, and call a person in the end
            schedule_poll(payment, 0)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self.failed(item, error)
        return QueueState.COMPLETED  # a question has no effect


class ExpiryWarningJob(LocalJob):
    """Says in time that a hold is about to lapse."""

    kind = "payment.expiry_warning"

    def run(self, item: QueueItem) -> None:
        payment = Payment.objects.select_for_update().get(pk=item.payload["payment"])
        if not is_held(payment.status) or payment.expires_at is None:
            return
        publish(payment, "payment.authorization_expiring", key=f"{payment.pk}:{int(payment.expires_at.timestamp())}")
        raise_alert(
            tenant_id=payment.tenant_id,
            kind="authorization_expiring",
            subject=payment.pk,
            message=f"The hold of {payment.pk} lapses at {payment.expires_at:%Y-%m-%d %H:%M} UTC: capture or cancel it.",
            level=Alert.Level.WARNING.value,
        )
