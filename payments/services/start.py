"""Starting a payment: rows first, then one try in the request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import phonenumbers
from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import InvalidRequest, ProviderError
from integrations.contracts.ids import new_id, new_token
from integrations.contracts.money import InvalidMoney, Money
from integrations.contracts.payment import MethodType
from integrations.models import Config, QueueItem, Tenant
from integrations.runtime import idempotency
from integrations.runtime.queue import enqueue
from integrations.runtime.worker import claim_and_run
from payments.gateway import choose_config, gateway_class, payment_request
from payments.ledger import write_entry
from payments.models import Operation, OperationKind, Payment
from payments.references import open_path

# How long a worker leaves an interactive item to the request that made it; after that the request must have died.
HEAD_START = timedelta(seconds=5)


def start_payment(
    *,
    tenant: Tenant,
    amount: int,
    currency: str,
    method_type: str,
    phone: str = "",
    provider: str | None = None,
    capture: str = "automatic",
    reference_type: str = "",
    reference_id: str = "",
    customer: dict[str, Any] | None = None,
    description: str = "",
    return_url: str = "",
    metadata: dict[str, Any] | None = None,
    actor: str = "api",
) -> Payment:
    """Create the payment and ask the gateway for it, once.

    Returns it as it is after that try: `processing` also where the gateway can't be reached now and the queue goes on
    trying until the payment's `not_after`. Raises `InvalidRequest`, `NotConfigured`, `UnsupportedOperation` with nothing
    changed; a refusal by the gateway is a failed payment, and is raised where it names a field of the request.
    """
    config, view = choose_config(tenant_id=tenant.pk, provider=provider)
    gateway = gateway_class(config.provider_id)
    try:
        money = Money(amount, currency)
    except InvalidMoney as error:
        raise InvalidRequest(str(error), attr="amount") from error
    if capture == "manual":
        gateway.features.check("capture")
    gateway.features.check("authorize", money, MethodType(method_type))
    payment = Payment(
        tenant=tenant,
        config=config,
        provider=config.provider_id,
        amount=amount,
        currency=currency,
        capture=capture,
        method_type=method_type,
        phone=normal_phone(phone, tenant.country) if method_type == MethodType.MOBILE_MONEY else "",
        payer_name=str((customer or {}).get("name", ""))[:200],
        customer=customer or {},
        reference_type=reference_type,
        reference_id=reference_id,
        description=description,
        return_url=return_url,
        metadata=metadata or {},
        hook_token=new_token(),
        not_after=clock.now() + timedelta(seconds=gateway.features.validity),
        created=clock.now(),
        updated=clock.now(),
    )
    operation = Operation(
        id=new_id("op"), tenant=tenant, payment=payment, kind=OperationKind.AUTHORIZE, amount=amount, hook_token=new_token()
    )
    request = payment_request(payment, operation)
    gateway.check(request, view)
    payment.account_number = gateway.shown_reference(request)
    item = _record(payment, operation, config, actor)
    outcome = claim_and_run(item)
    payment.refresh_from_db()
    _raise_if_about_request(outcome.error)
    return payment


def normal_phone(phone: str, country: str) -> str:
    """Return the number in E.164; raise `InvalidRequest` naming `method.phone`."""
    try:
        parsed = phonenumbers.parse(phone, country)
    except phonenumbers.NumberParseException:
        parsed = None
    if parsed is None or not phonenumbers.is_valid_number(parsed):
        raise InvalidRequest("This is not a phone number.", attr="method.phone")
    formatted: str = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return formatted


@transaction.atomic
def _record(payment: Payment, operation: Operation, config: Config, actor: str) -> QueueItem:
    payment.save(force_insert=True)
    operation.idempotency_key = operation.pk
    operation.created = operation.updated = payment.created
    operation.save(force_insert=True)
    open_path(payment, token=payment.hook_token, object_type="payment", object_id=payment.pk)
    write_entry(payment, actor=actor, reason="payment asked for", from_status="", operation=operation, amount=payment.amount)
    idempotency.attach("payment", payment.pk)
    return enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.authorize",
        payload={"payment": payment.pk, "operation": operation.pk},
        reference=("payment", payment.pk),
        key=payment.pk,
        due_at=clock.now() + HEAD_START,
        not_after=payment.not_after,
        config_id=config.pk,
        priority=1,
    )


def _raise_if_about_request(error: ProviderError | None) -> None:
    if isinstance(error, InvalidRequest) and error.attr:
        raise error
