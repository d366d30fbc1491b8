"""Starting a payment: rows first, then one try in the request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import phonenumbers
from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import InvalidRequest, ProviderError
from integrations.contracts.ids import is_id, new_token
from integrations.contracts.money import InvalidMoney, Money
from integrations.contracts.payment_features import GatewayOperation, MethodType
from integrations.models import Config, QueueItem, QueueState, Tenant
from integrations.runtime import idempotency
from integrations.runtime.worker import Outcome, claim_and_run
from integrations.secrets import seal
from payments.gateway import features_of, gateway_class, payment_request, view_of
from payments.ledger import write_entry
from payments.models import Operation, OperationKind, PayerMethod, Payment
from payments.routing import ask_gateway, candidates, new_operation


def start_payment(
    *,
    tenant: Tenant,
    amount: int,
    currency: str,
    method_type: str,
    phone: str = "",
    token: str = "",
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
    """Create the payment and ask the gateway for it.

    `token` is the gateway's own (from its form in the browser) or a stored payer method of ours (`pm_...`), which is charged
    without the payer being there. Returns the payment as it is after one try at each gateway that was worth one:
    `processing` also where the gateway can't be reached now and the queue goes on trying until the payment's `not_after`.
    Raises `InvalidRequest`, `NotConfigured`, `UnsupportedOperation` with nothing changed; a refusal by the gateway is a failed
    payment, and is raised where it names a field of the request.
    """
    try:
        money = Money(amount, currency)
    except InvalidMoney as error:
        raise InvalidRequest(str(error), attr="amount") from error
    stored = _stored_method(token, method_type, provider) if is_id("pm", token) else None
    method = MethodType(method_type)
    able = candidates(
        tenant_id=tenant.pk,
        provider=provider,
        config_id=stored.config_id if stored is not None else None,
        money=money,
        method=method,
        capture=capture,
    )
    if token:
        able = able[:1]  # the token means something to one gateway only
    config = able[0]
    features = features_of(config, config.provider_id)
    if stored is not None:
        features.check(GatewayOperation.OFF_SESSION.value)
    now = clock.now()
    payment = Payment(
        tenant=tenant,
        config=config,
        provider=config.provider_id,
        amount=amount,
        currency=currency,
        capture=capture,
        method_type=method_type,
        payer_method=stored,
        phone=normal_phone(phone, tenant.country) if method is MethodType.MOBILE_MONEY else "",
        payer_name=str((customer or {}).get("name", ""))[:200],
        customer=customer or {},
        reference_type=reference_type,
        reference_id=reference_id,
        description=description,
        return_url=return_url,
        metadata=metadata or {},
        hook_token=new_token(),
        fallbacks=[other.pk for other in able[1:]],
        not_after=now + timedelta(seconds=features.validity),
        created=now,
        updated=now,
    )
    operation = new_operation(payment, OperationKind.AUTHORIZE, amount)
    if token and stored is None:
        operation.sealed_token = seal(tenant.pk, token)
    gateway, request = gateway_class(config.provider_id), payment_request(payment, operation)
    gateway.check(request, view_of(config))
    payment.account_number = gateway.shown_reference(request)
    outcome = _chase(payment, _record(payment, operation, config, actor))
    payment.refresh_from_db()
    _raise_if_about_request(outcome.error)
    return payment


def _stored_method(token: str, method_type: str, provider: str | None) -> PayerMethod:
    stored = PayerMethod.objects.filter(pk=token, is_active=True).first()
    if stored is None:
        raise InvalidRequest("There is no such stored payment method.", attr="method.token")
    if stored.method_type != method_type:
        raise InvalidRequest(f"This stored method is of type {stored.method_type}.", attr="method.type")
    if provider and provider != stored.provider:
        raise InvalidRequest(f"This stored method belongs to {stored.provider}.", attr="provider")
    return stored


def _chase(payment: Payment, item: QueueItem) -> Outcome:
    """Try the item, and each further gateway's that it leads to, once."""
    outcome = claim_and_run(item)
    for _gateway in range(len(payment.fallbacks)):
        following = (
            QueueItem.unscoped.filter(
                tenant_id=payment.tenant_id, kind="payment.authorize", reference_id=payment.pk, state=QueueState.PENDING
            )
            .exclude(pk=item.pk)
            .first()
        )
        if following is None:
            break
        item = following
        outcome = claim_and_run(item)
    return outcome


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
    operation.save(force_insert=True)
    write_entry(payment, actor=actor, reason="payment asked for", from_status="", operation=operation, amount=payment.amount)
    idempotency.attach("payment", payment.pk)
    return ask_gateway(payment, operation)


def _raise_if_about_request(error: ProviderError | None) -> None:
    if isinstance(error, InvalidRequest) and error.attr:
        raise error
