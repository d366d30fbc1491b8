"""The SMS that tells a payer that the money arrived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from integrations.contracts.errors import NotConfigured, ProviderError
from integrations.contracts.messaging import MessageState
from integrations.contracts.money import Money
from integrations.events import DomainEvent, ReceiptAsked, ReceiptTaken
from integrations.messaging.sms.services import send_sms
from integrations.models import Tenant
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime.alerts import raise_alert

logger = structlog.get_logger(__name__)

CATEGORY = "receipt"


def send_receipt(event: DomainEvent) -> None:
    """Queue the receipt of a completed payment, once, in the caller's transaction; nothing where there is no phone number
    or the tenant has no SMS account.

    Never refuses the payment: what keeps the receipt from being queued becomes an alert.
    """
    phone = str(event.private.get("phone") or "")
    if not phone:
        return
    tenant = Tenant.objects.get(pk=event.tenant_id)
    try:
        send_sms(
            tenant=tenant,
            to=[phone],
            message=receipt_text(event.object, event.private, tenant),
            reference=("payment", event.object_id),
            category=CATEGORY,
            key=f"receipt:{event.object_id}",
            created_by="hub",
        )
    except NotConfigured:
        logger.info("receipt_not_sent", payment=event.object_id, reason="no SMS account")
    except ProviderError as error:
        raise_alert(
            tenant_id=tenant.pk,
            kind="receipt_not_sent",
            subject=event.object_id,
            message=f"The receipt SMS could not be queued: {error.message}",
        )


def resend_receipt(question: ReceiptAsked) -> ReceiptTaken:
    """Queue the receipt to the number asked for, in the caller's transaction. Raises `NotConfigured` without an SMS
    account, `InvalidRequest` naming `to`; a number that is not to be written to is answered as refused."""
    tenant = Tenant.objects.get(pk=question.tenant_id)
    message = send_sms(
        tenant=tenant,
        to=[question.to],
        message=receipt_text(question.object, question.private, tenant),
        reference=("payment", question.object_id),
        category=CATEGORY,
        key=f"receipt:{question.object_id}:{question.key}",
        created_by=question.asked_by,
    )
    recipient = message.recipients.get()
    refused = recipient.detail if recipient.state == MessageState.FAILED else ""
    return ReceiptTaken(message_id=message.pk, to=recipient.address, refused=refused)


def receipt_text(payment: Mapping[str, Any], private: Mapping[str, Any], tenant: Tenant) -> str:
    """Return e.g. "Received KES 1,500.00 for INV-0042 from Jane Wanjiku. M-Pesa ref UGA3K7P2QX. Receipt 2026-000001.
    Springfield School"; parts that are not known are left out."""
    money = Money(int(payment.get("amount_captured") or payment["amount"]), str(payment["currency"]))
    first = f"Received {money}"
    reference = (payment.get("reference") or {}).get("id") or payment.get("account_number")
    if reference:
        first += f" for {reference}"
    payer = private.get("payer_name") or (payment.get("customer") or {}).get("name")
    if payer:
        first += f" from {payer}"
    parts = [first]
    if refunded := int(payment.get("amount_refunded") or 0):
        parts.append(f"Refunded {Money(refunded, str(payment['currency']))}")
    provider_receipt = payment.get("provider_receipt") or payment.get("receipt")
    if provider_receipt and isinstance(provider_receipt, str):
        parts.append(f"{_provider_name(str(payment.get('provider') or ''))} ref {provider_receipt}".strip())
    if payment.get("receipt_number"):
        parts.append(f"Receipt {payment['receipt_number']}")
    return ". ".join([*parts, tenant.name])


def _provider_name(slug: str) -> str:
    """Return the provider's name as payers know it: without what it adds in brackets for technicians."""
    try:
        return get_provider(slug).name.partition(" (")[0]
    except UnknownProvider:
        return slug
