"""Which gateway serves a payment, what it can do, and what it is asked."""

from __future__ import annotations

from django.conf import settings

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import NotConfigured
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureRequest,
    PaymentQuery,
    PaymentRequest,
    RefundRequest,
    SetupRequest,
    VoidRequest,
)
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import MethodType, PaymentFeatures
from integrations.models import Config, QueueItem, QueueState
from integrations.registry import UnknownProvider, config_view, get_provider
from integrations.runtime.jobs import Call
from integrations.secrets import open_sealed
from payments.models import Operation, OperationKind, OperationStatus, Payment, SetupIntent

_UNDER_WAY = (QueueState.PENDING, QueueState.PROCESSING)


def gateway_class(provider: str) -> type[PaymentAdapter]:
    """Return the adapter class, for its capability matrix and checks; raise `NotConfigured` where it is not installed."""
    try:
        found = get_provider(provider).adapter_class(Capability.PAYMENT)
    except (UnknownProvider, KeyError) as error:
        raise NotConfigured("No such payment provider is installed.", provider=provider, attr="provider") from error
    assert issubclass(found, PaymentAdapter)  # noqa: S101 the registry's contract test holds every provider to this
    return found


def view_of(config: Config) -> ConfigView:
    """Return the opened config; raise `NotConfigured` where its provider is gone."""
    return config_view(config)


def features_of(config: Config | None, provider: str) -> PaymentFeatures:
    """Return the capability matrix of an account; that of its provider where the account is gone."""
    gateway = gateway_class(provider)
    return gateway.features if config is None else gateway.features_for(view_of(config))


def payment_features(payment: Payment) -> PaymentFeatures:
    """Return the capability matrix of the account that the payment is at."""
    return features_of(payment.config, payment.provider)


def callback_url(token: str) -> str:
    """Return the unguessable address that belongs to one payment or operation; the adapter adds its purpose."""
    return f"{settings.PUBLIC_BASE_URL}/hooks/{token}"


def page_url(token: str, part: str = "") -> str:
    """Return the payer's own page of a payment or setup; `part` is `/return` or `/cancel`."""
    return f"{settings.PUBLIC_BASE_URL}/pay/{token}{part}"


def call_about(
    payment: Payment, operation: str, argument: object, *, reference: tuple[str, str] | None = None, begins: bool = False
) -> Call:
    """Return a call to the account that the payment is at. Unless it `begins` something there, the account may be switched off
    meanwhile: a payment stays with its gateway to the end."""
    return Call(
        Capability.PAYMENT,
        operation,
        (argument,),
        config_id=payment.config_id,
        reference=reference or ("payment", payment.pk),
        external_reference=payment.provider_ref,
        in_flight=not begins,
    )


def main_operation(payment: Payment) -> Operation | None:
    """Return the operation that brought the money in, or is to: of several gateways' the one that succeeded, else the last."""
    asked = payment.operations.filter(kind__in=[OperationKind.AUTHORIZE, OperationKind.INCOMING])
    succeeded = asked.filter(status=OperationStatus.SUCCEEDED).first()
    return succeeded or asked.order_by("-created", "-id").first()


def token_of(operation: Operation) -> str:
    """Return the gateway's token that the payer's card or account stands behind; empty where there is none."""
    return str(open_sealed(operation.tenant_id, operation.sealed_token)) if operation.sealed_token else ""


def payment_request(payment: Payment, operation: Operation, *, attempt: int = 1, completes: bool = False) -> PaymentRequest:
    """Return what the adapter is asked to do; with `completes` the second step after the payer's approval."""
    stored = payment.payer_method
    token = str(open_sealed(payment.tenant_id, stored.sealed_token)) if stored is not None else token_of(operation)
    key = operation.idempotency_key or operation.pk
    return PaymentRequest(
        payment_id=payment.pk,
        idempotency_key=f"{key}-complete" if completes else key,
        money=Money(payment.amount, payment.currency),
        method=MethodType(payment.method_type),
        callback_url=callback_url(operation.hook_token),
        phone=payment.phone,
        token=token,
        customer_ref=stored.customer_ref if stored is not None else "",
        off_session=stored is not None,
        reference=payment.reference_id,
        description=payment.description,
        customer_name=payment.payer_name,
        customer_email=str((payment.customer or {}).get("email", "")),
        country=payment.tenant.country,
        return_url=page_url(payment.page_token, "/return"),
        cancel_url=page_url(payment.page_token, "/cancel"),
        page_url=page_url(payment.page_token),
        capture=payment.capture == "automatic",
        attempt=attempt,
        provider_ref=payment.provider_ref if completes else "",
    )


def payment_query(payment: Payment, operation: Operation | None = None) -> PaymentQuery:
    """Return the question about a payment; with `operation` about that try of it, at the account where that was made."""
    asked = operation or main_operation(payment)
    earlier = operation is not None and operation.config_id != payment.config_id
    return PaymentQuery(
        payment_id=payment.pk,
        provider_ref=asked.provider_ref if asked is not None and earlier else payment.provider_ref,
        money=Money(payment.amount, payment.currency),
        receipt="" if earlier else payment.receipt,
        callback_url=callback_url(asked.hook_token if asked is not None else payment.hook_token),
        method=MethodType(payment.method_type),
        asked_at=asked.created if asked is not None else payment.created,
        attempts=_attempts(asked) if asked is not None and not payment.provider_ref else 1,
        hold_ref="" if earlier else payment.hold_ref,
        capture=payment.capture == "automatic",
    )


def _attempts(operation: Operation) -> int:
    """Return how often the gateway may have been asked, the try that runs now included: some ids differ by it."""
    asked = QueueItem.unscoped.filter(tenant_id=operation.tenant_id, kind="payment.authorize", key=operation.pk)
    return max((item.attempts + (item.state in _UNDER_WAY) for item in asked), default=1) or 1


def capture_request(operation: Operation) -> CaptureRequest:
    """Return what the adapter is asked to take."""
    payment = operation.payment
    return CaptureRequest(
        operation_id=operation.pk,
        idempotency_key=operation.idempotency_key,
        payment_id=payment.pk,
        payment_provider_ref=payment.provider_ref,
        hold_ref=payment.hold_ref or payment.provider_ref,
        money=Money(operation.amount, payment.currency),
        capturable=Money(payment.amount_capturable, payment.currency),
        captured=Money(payment.amount_captured, payment.currency),
        final=operation.final,
    )


def void_request(operation: Operation, *, abandoned: bool) -> VoidRequest:
    """Return what the adapter is asked to release or call off."""
    payment = operation.payment
    return VoidRequest(
        operation_id=operation.pk,
        idempotency_key=operation.idempotency_key,
        payment_id=payment.pk,
        payment_provider_ref=payment.provider_ref,
        hold_ref=payment.hold_ref or payment.provider_ref,
        held=operation.kind == OperationKind.VOID,
        abandoned=abandoned,
    )


def refund_request(refund: Operation) -> RefundRequest:
    """Return what the adapter is asked to give back. `refund.source` is the capture that it is taken from."""
    payment = refund.payment
    source = refund.source or main_operation(payment)
    earlier = payment.operations.filter(kind=OperationKind.REFUND).exclude(pk=refund.pk)
    return RefundRequest(
        refund_id=refund.pk,
        idempotency_key=refund.idempotency_key,
        payment_receipt=payment.receipt,
        payment_provider_ref=payment.provider_ref,
        money=Money(refund.amount, payment.currency),
        callback_url=callback_url(refund.hook_token),
        reason=refund.reason,
        provider_ref=refund.provider_ref,
        payment_id=payment.pk,
        capture_ref=source.provider_ref if source is not None else "",
        captured=Money(source.amount if source is not None else payment.amount_captured, payment.currency),
        earlier=earlier.exclude(status=OperationStatus.FAILED).count(),
        method_name=payment.method_name,
        requested_by=refund.requested_by,
        asked_at=refund.created,
    )


def setup_request(setup: SetupIntent, operation: Operation, *, completes: bool = False) -> SetupRequest:
    """Return what the adapter is asked to store."""
    customer = setup.customer or {}
    return SetupRequest(
        setup_id=setup.pk,
        idempotency_key=f"{operation.idempotency_key}-complete" if completes else operation.idempotency_key,
        method=MethodType(setup.method_type),
        token=token_of(operation),
        customer_id=str(customer.get("id", "")),
        customer_ref=setup.customer_ref,
        customer_name=str(customer.get("name", "")),
        customer_email=str(customer.get("email", "")),
        return_url=page_url(setup.page_token, "/return"),
        cancel_url=page_url(setup.page_token, "/cancel"),
        page_url=page_url(setup.page_token),
        provider_ref=setup.provider_ref,
        asked_at=operation.created,
    )
