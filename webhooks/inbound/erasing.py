"""Forgetting what a stored request said, at a person's request; that it came, and what became of it, stays."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from django.db import transaction
from django.db.models import QuerySet

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.contracts.inbound import InboundEvent
from integrations.events import ExchangeErased, FactErased, ReportErased, emit
from integrations.models import CallLog, Direction
from integrations.registry import webhook_adapters
from integrations.runtime.erasing import erase_log
from integrations.tenancy import audit
from webhooks.inbound.locate import GENERIC
from webhooks.inbound.models import Receipt, ReceiptStatus

logger = structlog.get_logger(__name__)

ERASED = "erased on request"
"""What the detail of an erased request says. It can't be processed again."""


def is_erased(receipt: Receipt) -> bool:
    return receipt.erased_at is not None


def erase_receipt(*, receipt: Receipt) -> Receipt:
    """Empty a stored request, its query, headers and body, and what the log has of it; and what was made of its words: a
    message that somebody wrote, the event of a source of the tenant's own. Erasing twice is once.

    Raises `Conflict` while it still waits to be processed or an event made of it is being sent, and `Receipt.DoesNotExist`
    where it is gone. Called inside the tenant's scope, of a stranger's request outside of any."""
    with transaction.atomic():
        # The log before the request, as where a log is erased and its request with it: so that two who erase never wait for
        # each other.
        logs = list(_logs_of(receipt).order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True))
        receipt = Receipt.unscoped.select_for_update(of=("self",)).get(pk=receipt.pk)
        if is_erased(receipt):
            return receipt
        if receipt.status == ReceiptStatus.RECEIVED:
            raise Conflict("This request still waits to be processed: try again in a moment.")
        reported = _reported(receipt)
        receipt.query, receipt.headers, receipt.body, receipt.detail = {}, {}, b"", ERASED
        receipt.erased_at = clock.now()
        receipt.save(update_fields=["query", "headers", "body", "detail", "erased_at"])
        if receipt.tenant_id is None:  # a stranger's: no tenant's audit is the place, no log was written and nothing made of it
            return receipt
        audit.record(
            tenant_id=receipt.tenant_id,
            action="receipt.erased",
            object_type="receipt",
            object_id=str(receipt.pk),
            object_name=f"{receipt.provider} {receipt.provider_event_type or receipt.purpose}",
        )
        for log_id in logs:
            erase_log(log_id=log_id)
        for fact in reported:
            emit(ReportErased(fact=fact))
        if receipt.provider == GENERIC:
            emit(FactErased(tenant_id=receipt.tenant_id, key=receipt.dedupe_key))
    return receipt


def _logs_of(receipt: Receipt) -> QuerySet[CallLog]:
    """Return what the log of exchanges has of it; a stranger's is not there."""
    return CallLog.unscoped.filter(
        tenant_id=receipt.tenant_id,
        direction=Direction.INBOUND,
        provider=receipt.provider,
        operation__startswith="webhook.",
        external_reference=str(receipt.pk),
        erased_at__isnull=True,
    )


def _reported(receipt: Receipt) -> Sequence[InboundEvent]:
    """Return what a provider's request reports, read once more: by it those who keep its words know what to erase. Nothing
    where it can't be read, which made nothing of it then as now."""
    from webhooks.inbound.jobs import stored_request  # both ask us whether a request is erased
    from webhooks.inbound.services import origin_of

    adapter = webhook_adapters().get(receipt.provider)
    if adapter is None or receipt.tenant_id is None:
        return ()
    try:
        return adapter.parse(stored_request(receipt), origin_of(receipt))
    except Exception as error:  # noqa: BLE001 erasing must not depend on how well it is made
        logger.warning("erased_unread", receipt=receipt.pk, error=type(error).__name__)
        return ()


def on_exchange_erased(event: ExchangeErased) -> None:
    """Erase the stored request that a log of an incoming exchange is about."""
    if event.direction != Direction.INBOUND or not event.operation.startswith("webhook."):
        return
    if not (event.external_reference.isascii() and event.external_reference.isdigit() and len(event.external_reference) < 19):
        return
    mine = Receipt.unscoped.filter(pk=int(event.external_reference), tenant_id=event.tenant_id, provider=event.provider)
    for receipt in mine:
        erase_receipt(receipt=receipt)
