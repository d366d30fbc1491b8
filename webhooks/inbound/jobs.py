"""Working off stored requests."""

from __future__ import annotations

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.inbound import InboundEvent, InboundRequest, MalformedWebhook
from integrations.events import Unmatched, emit
from integrations.models import Alert, QueueItem
from integrations.registry import webhook_adapters
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import LocalJob
from webhooks.inbound.erasing import is_erased
from webhooks.inbound.generic import receiving
from webhooks.inbound.locate import GENERIC
from webhooks.inbound.models import InboundEndpoint, Receipt, ReceiptStatus
from webhooks.inbound.refusals import Refused
from webhooks.inbound.services import origin_of


class ProcessReceiptJob(LocalJob):
    """Parses a stored request and hands its facts to the features, all in one transaction.

    A fact that fits nothing here leaves the others of its batch alone.
    """

    kind = "webhook.process"
    max_attempts = 60  # a report may have to wait minutes for the payment it could belong to

    def run(self, item: QueueItem) -> None:
        receipt = Receipt.unscoped.select_for_update().get(pk=item.payload["receipt"])
        if is_erased(receipt):  # while it waited to be processed again
            return
        if receipt.provider == GENERIC:
            self._report(receipt)
            return
        adapter = webhook_adapters()[receipt.provider]
        try:
            events = adapter.parse(stored_request(receipt), origin_of(receipt))
        except MalformedWebhook as error:
            self._end(receipt, ReceiptStatus.FAILED, str(error))
            return
        strange = [problem for problem in map(self._hand_over, events) if problem is not None]
        if events and len(strange) == len(events):
            self._end(receipt, ReceiptStatus.UNMATCHED, strange[0])
        elif strange:
            detail = f"{len(strange)} of {len(events)} facts fit nothing here: {strange[0]}"
            self._end(receipt, ReceiptStatus.PROCESSED, detail)
        else:
            self._end(receipt, ReceiptStatus.PROCESSED, "" if events else "nothing in it concerns us")

    def _report(self, receipt: Receipt) -> None:
        """Let the event of a generic source's request happen, as the source is set up now."""
        endpoint = InboundEndpoint.unscoped.get(pk=receipt.token_object.partition(":")[2], tenant_id=receipt.tenant_id)
        try:
            why_none = receiving.report(endpoint, stored_request(receipt), key=receipt.dedupe_key)
        except (receiving.Rejected, Refused, MalformedWebhook) as error:
            self._end(receipt, ReceiptStatus.FAILED, str(error))
            raise_alert(
                tenant_id=receipt.tenant_id,
                kind="webhook_failed",
                subject=f"{endpoint} ({endpoint.pk})",
                message=f"Request #{receipt.pk} was taken in, but no event could come of it: {error}. Correct the source, then"
                " process it again.",
            )
            return
        self._end(receipt, ReceiptStatus.IGNORED if why_none else ReceiptStatus.PROCESSED, why_none)

    @staticmethod
    def _hand_over(event: InboundEvent) -> str | None:
        """Return why the fact fits nothing here, None where it was taken."""
        try:
            with transaction.atomic():
                emit(event)
        except Unmatched as error:
            return str(error)
        return None

    def failed(self, item: QueueItem, error: Exception) -> None:
        receipt = Receipt.unscoped.select_for_update().get(pk=item.payload["receipt"])
        if is_erased(receipt):
            return
        self._end(receipt, ReceiptStatus.FAILED, type(error).__name__)
        raise_alert(
            tenant_id=receipt.tenant_id,
            kind="webhook_failed",
            subject=f"{receipt.provider} #{receipt.pk}",
            message=f"A webhook could not be processed: {type(error).__name__}",
            level=Alert.Level.CRITICAL.value,
        )

    @staticmethod
    def _end(receipt: Receipt, status: ReceiptStatus, detail: str) -> None:
        receipt.status, receipt.detail, receipt.processed_at = status, detail, clock.now()
        receipt.save(update_fields=["status", "detail", "processed_at"])


def stored_request(receipt: Receipt) -> InboundRequest:
    """Return the request as it came in."""
    return InboundRequest(
        method=receipt.method,
        purpose=receipt.purpose,
        query=receipt.query,
        headers=receipt.headers,
        body=bytes(receipt.body),
        remote_ip=receipt.remote_ip or "",
    )
