"""Which gateway serves a payment, what it can do, and what it is asked."""

from __future__ import annotations

from django.conf import settings

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import NotConfigured
from integrations.contracts.money import Money
from integrations.contracts.payment import MethodType, PaymentAdapter, PaymentQuery, PaymentRequest
from integrations.models import Config
from integrations.registry import UnknownProvider, config_view, get_provider
from integrations.runtime.resolve import find_config
from payments.models import Operation, Payment


def gateway_class(provider: str) -> type[PaymentAdapter]:
    """Return the adapter class, for its capability matrix and checks; raise `NotConfigured` where it is not installed."""
    try:
        found = get_provider(provider).adapter_class(Capability.PAYMENT)
    except (UnknownProvider, KeyError) as error:
        raise NotConfigured("No such payment provider is installed.", provider=provider, attr="provider") from error
    assert issubclass(found, PaymentAdapter)  # noqa: S101 the registry's contract test holds every provider to this
    return found


def choose_config(*, tenant_id: int, provider: str | None) -> tuple[Config, ConfigView]:
    """Return the tenant's config that new payments go to, and its opened view; raise `NotConfigured`."""
    config = find_config(tenant_id=tenant_id, capability=Capability.PAYMENT.value, provider=provider)
    if config is None:
        what = f"payment provider {provider}" if provider else "payments"
        raise NotConfigured(f"No active config serves {what}.", provider=provider or "", attr="provider")
    return config, config_view(config)


def callback_url(token: str) -> str:
    """Return the unguessable address that belongs to one payment or operation; the adapter adds its purpose."""
    return f"{settings.PUBLIC_BASE_URL}/hooks/{token}"


def payment_request(payment: Payment, operation: Operation) -> PaymentRequest:
    """Return what the adapter is asked to do."""
    return PaymentRequest(
        payment_id=payment.pk,
        idempotency_key=operation.idempotency_key or operation.pk,
        money=Money(payment.amount, payment.currency),
        method=MethodType(payment.method_type),
        callback_url=callback_url(payment.hook_token),
        phone=payment.phone,
        reference=payment.reference_id,
        description=payment.description,
        customer_name=payment.payer_name,
        return_url=payment.return_url,
        capture=payment.capture == "automatic",
    )


def payment_query(payment: Payment) -> PaymentQuery:
    """Return the question about a payment."""
    return PaymentQuery(
        payment_id=payment.pk,
        provider_ref=payment.provider_ref,
        money=Money(payment.amount, payment.currency),
        receipt=payment.receipt,
        callback_url=callback_url(payment.hook_token),
    )
