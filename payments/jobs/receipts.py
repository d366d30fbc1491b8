"""Mailing a receipt: at most once for each delivery."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import AuthenticationFailed, OutcomeUnknown, ProviderError
from integrations.models import QueueItem, QueueState
from integrations.runtime.alerts import raise_alert, resolve_alert
from integrations.runtime.jobs import Call, EffectJob
from integrations.runtime.mail_log import send_logged
from payments.models import DeliveryState, ReceiptDelivery
from payments.receipt_mail import receipt_mail

OPERATION = "receipt_email"


class ReceiptEmailJob(EffectJob):
    """Mails a receipt. A mail server can't be asked what became of a message: where its answer is missing, a person decides
    whether to send the receipt again."""

    kind = "payment.receipt_email"
    max_attempts = 20
    """With the queue's back-off about half a day: a mail server may be down over night."""
    lease_seconds = 180.0
    """A conversation with a slow mail server has many steps, each with its own timeout."""

    def prepare(self, item: QueueItem) -> Call | None:
        with transaction.atomic():
            delivery = _locked(item)
            if delivery.state == DeliveryState.FAILED:  # a person retried the queue item
                _settle(delivery, DeliveryState.QUEUED, "")
        if delivery.state != DeliveryState.QUEUED:
            return None
        return Call(Capability.EMAIL, OPERATION, reference=("payment", delivery.payment_id))

    def perform(self, item: QueueItem, begin: Callable[[], None]) -> str:
        delivery = ReceiptDelivery.objects.select_related("payment__tenant").get(pk=item.payload["delivery"])
        about = ("payment", delivery.payment_id)
        return send_logged(receipt_mail(delivery), begin, item=item, operation=OPERATION, reference=about)

    def succeeded(self, item: QueueItem, result: str) -> None:
        delivery = _locked(item)
        if delivery.state == DeliveryState.UNKNOWN:  # the answer came after all, late
            resolve_alert(tenant_id=item.tenant_id, kind="needs_review", subject=f"{item.kind} #{item.pk}")
        _settle(delivery, DeliveryState.SENT, result)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        delivery = _locked(item)
        _settle(delivery, DeliveryState.FAILED, error.message)
        # The queue itself tells of tries used up and of a refused login.
        told = error.retryable or isinstance(error, AuthenticationFailed) or error.provider_code == "cancelled"
        if not told:
            raise_alert(
                tenant_id=item.tenant_id,
                kind="receipt_not_sent",
                subject=delivery.payment_id,
                message=f"The receipt could not be mailed to {delivery.to}: {error.message}",
            )

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        _settle(_locked(item), DeliveryState.UNKNOWN, error.message)
        return QueueState.NEEDS_REVIEW

    def waiting(self, item: QueueItem, error: ProviderError) -> None:
        _settle(_locked(item), DeliveryState.QUEUED, error.message)


def _locked(item: QueueItem) -> ReceiptDelivery:
    found: ReceiptDelivery = ReceiptDelivery.objects.select_for_update().get(pk=item.payload["delivery"])
    return found


def _settle(delivery: ReceiptDelivery, state: DeliveryState, detail: str) -> None:
    delivery.state, delivery.detail = state, detail[:300]
    delivery.finished = None if state == DeliveryState.QUEUED else clock.now()
    delivery.save()
