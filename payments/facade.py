"""Payments for the other Django apps of the same project, beside the HTTP API: the same acts, forms and errors, as functions.

Every function takes the tenant (or its slug), opens its scope, and returns what the API would: a payment or refund is the same
dictionary here, in the API and in events. Amounts are integer minor units. All errors are `integrations.contracts.errors`
classes, each with `code`, `message` and `attr`. What talks to a gateway refuses to run inside a transaction: call it from
`transaction.on_commit`. See docs/integrating.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import structlog
from django.core.exceptions import ValidationError as FormError
from django.db import transaction
from django.db.models import F, Sum
from django_scopes import scope
from drf_standardized_errors.formatter import flatten_errors
from rest_framework.serializers import Serializer
from rest_framework.serializers import ValidationError as ShapeError

from integrations.contracts.errors import InvalidRequest, NotFound
from integrations.events import DomainEvent, subscribe
from integrations.http.client import refuse_inside_transaction
from integrations.models import Alert, Tenant
from integrations.runtime.alerts import raise_alert
from payments import receipts, services
from payments.keyed import KeyInUse, KeyReused, once
from payments.models import AllocationRule, Operation, Payment
from payments.selectors import public_form, refund_form
from payments.serializers import AllocateSerializer, AuthorizeSerializer, CaptureRequestSerializer, RefundRequestSerializer

__all__ = [
    "KeyInUse",
    "KeyReused",
    "PaymentNotFound",
    "add_allocation_rule",
    "allocate",
    "cancel",
    "capture",
    "get_payment",
    "money_received",
    "on_payment",
    "payments_for",
    "receipt_html",
    "receipt_pdf",
    "refund",
    "request_payment",
    "sync",
    "unallocated",
]

logger = structlog.get_logger(__name__)
Form = dict[str, Any]
Handler = Callable[[DomainEvent], None]
ACTOR = "python"


class PaymentNotFound(NotFound):
    """The tenant has no such payment."""

    code = "not_found"


# --- asking for money, taking it, giving it back


def request_payment(
    *,
    tenant: Tenant | str,
    key: str,
    amount: int,
    currency: str,
    method: str = "redirect",
    phone: str = "",
    token: str = "",
    provider: str = "",
    capture: str = "automatic",
    reference: tuple[str, str] | None = None,
    customer: Mapping[str, str] | None = None,
    description: str = "",
    return_url: str = "",
    metadata: Mapping[str, str] | None = None,
    actor: str = ACTOR,
) -> Form:
    """Ask a payer for money and return the payment as it is after one try; it is decided later, by the payer.

    `key` names this request: the same call with the same key returns the first answer, for 24 hours. `method` is `card` (with
    `token`), `mobile_money` (with `phone`) or `redirect` (to the page in `next_action`); `reference` is (type, id) of your own
    object. Raises `InvalidRequest`, `NotConfigured`, `UnsupportedOperation`, `KeyReused`, `KeyInUse`, with nothing made. A
    refusal by the gateway is a failed payment; it is raised too (`InvalidRequest`) where it names a field of the request.
    """
    way = _given(type=method, phone=phone, token=token)
    body = {"amount": amount, "currency": currency, "method": way}
    if capture != "automatic":
        body["capture"] = capture
    body |= _given(
        provider=provider,
        customer=dict(customer or {}),
        reference=_reference(reference) if reference else None,
        description=description,
        return_url=return_url,
        metadata=dict(metadata or {}),
    )
    data = _checked(AuthorizeSerializer(data=body))
    owner = _ready(tenant)

    def perform() -> Form:
        payment = services.start_payment(
            tenant=owner,
            amount=data["amount"],
            currency=data["currency"],
            method_type=data["method"]["type"],
            phone=data["method"].get("phone", ""),
            token=data["method"].get("token", ""),
            provider=data.get("provider"),
            capture=data["capture"],
            reference_type=data.get("reference", {}).get("type", ""),
            reference_id=data.get("reference", {}).get("id", ""),
            customer=data.get("customer"),
            description=data.get("description", ""),
            return_url=data.get("return_url", ""),
            metadata=data.get("metadata"),
            actor=actor,
        )
        return public_form(payment)

    with scope(tenant=owner):
        return once(tenant=owner, key=key, path="/api/payments/authorize", body=body, perform=perform, find=_payment_form)


def capture(
    *,
    tenant: Tenant | str,
    key: str,
    payment: str,
    amount: int | None = None,
    final: bool | None = None,
    actor: str = ACTOR,
) -> Form:
    """Take `amount` of what the payment holds (all that is left where None) and return the payment after one try.

    `final` releases the rest. Raises `Conflict`, `InvalidRequest`, `UnsupportedOperation`, `PaymentNotFound`, `KeyReused`,
    `KeyInUse`, with nothing changed.
    """
    body = {"payment": payment, **_given(amount=amount, final=final)}
    data = _checked(CaptureRequestSerializer(data=body))
    owner = _ready(tenant)

    def perform() -> Form:
        _found(payment)
        taken = services.capture_payment(
            tenant=owner, payment_id=payment, amount=data.get("amount"), final=data.get("final"), actor=actor
        )
        return public_form(taken)

    with scope(tenant=owner):
        return once(tenant=owner, key=key, path="/api/payments/capture", body=body, perform=perform, find=_payment_form)


def refund(
    *, tenant: Tenant | str, key: str, payment: str, amount: int | None = None, reason: str = "", actor: str = ACTOR
) -> Form:
    """Give `amount` of the payment back (all that is left where None) and return the refund after one try.

    Raises `Conflict`, `InvalidRequest`, `UnsupportedOperation`, `PaymentNotFound`, `KeyReused`, `KeyInUse`, with nothing
    changed.
    """
    body = {"payment": payment, **_given(amount=amount, reason=reason)}
    data = _checked(RefundRequestSerializer(data=body))
    owner = _ready(tenant)

    def perform() -> Form:
        _found(payment)
        given = services.refund_payment(
            tenant=owner, payment_id=payment, amount=data.get("amount"), reason=data["reason"], actor=actor
        )
        return refund_form(given)

    def find(refund_id: str) -> Form:
        return refund_form(Operation.objects.get(pk=refund_id))

    with scope(tenant=owner):
        return once(tenant=owner, key=key, path="/api/payments/refund", body=body, perform=perform, find=find)


def cancel(*, tenant: Tenant | str, payment: str, actor: str = ACTOR) -> Form:
    """Release what is held, or call off a request that nobody has paid; return the payment after one try.

    Needs no key: a second call finds it cancelled and raises `Conflict`. Raises `UnsupportedOperation`, `PaymentNotFound` too.
    """
    owner = _ready(tenant)
    with scope(tenant=owner):
        _found(payment)
        return public_form(services.cancel_payment(tenant=owner, payment_id=payment, actor=actor))


def sync(*, tenant: Tenant | str, payment: str, actor: str = ACTOR) -> Form:
    """Ask the gateway now how the payment stands, refunds and disputes included; raises what the question comes to."""
    with scope(tenant=_ready(tenant)):
        return public_form(services.sync_payment(payment=_found(payment), actor=actor, decided_too=True))


# --- looking


def get_payment(*, tenant: Tenant | str, payment: str) -> Form:
    """Return the payment. Of an open one that the gateway was not asked about just now it will be asked, without waiting."""
    with scope(tenant=_tenant(tenant)):
        found = _found(payment)
        services.look_soon(found)
        return public_form(found)


def payments_for(*, tenant: Tenant | str, reference: tuple[str, str]) -> list[Form]:
    """Return all payments for your object (type, id), newest first."""
    with scope(tenant=_tenant(tenant)):
        return [public_form(each) for each in _payments(reference).prefetch_related("operations", "disputes")]


def money_received(*, tenant: Tenant | str, reference: tuple[str, str]) -> dict[str, int]:
    """Return what came in for your object (type, id) and stayed, in minor units by currency: captured, less what was refunded
    and what payers' banks hold back. Refunds that are still under way do not count yet."""
    kept = F("amount_captured") - F("amount_refunded") - F("amount_disputed")
    with scope(tenant=_tenant(tenant)):
        sums = _payments(reference).order_by("currency").values_list("currency").annotate(total=Sum(kept))
        return {currency: total for currency, total in sums if total}


def receipt_pdf(*, tenant: Tenant | str, payment: str) -> bytes:
    """Return the receipt of a succeeded payment; raises `Conflict` while there is none, `PaymentNotFound`."""
    with scope(tenant=_tenant(tenant)):
        return receipts.render_receipt_pdf(_found(payment))


def receipt_html(*, tenant: Tenant | str, payment: str) -> str:
    """Return the same receipt as a page."""
    with scope(tenant=_tenant(tenant)):
        return receipts.render_receipt_html(_found(payment))


# --- money that customers send by themselves


def add_allocation_rule(*, tenant: Tenant | str, pattern: str, reference_type: str, position: int = 10) -> None:
    """Let account numbers that match `pattern` as a whole, in either case, stand for references of this type.

    The reference's id is the account number as the payer typed it. Lower positions come first. Harmless to repeat. Raises
    `InvalidRequest` for what is no regular expression.
    """
    owner = _tenant(tenant)
    with scope(tenant=owner):
        rule = AllocationRule(tenant=owner, pattern=pattern, reference_type=reference_type, position=position)
        try:
            rule.full_clean()
        except FormError as error:
            name, (text, *_more) = next(iter(error.message_dict.items()))
            raise InvalidRequest(text, attr=name) from error
        with transaction.atomic():
            Tenant.objects.select_for_update().get(pk=owner.pk)  # two processes at start-up add it once
            if not AllocationRule.objects.filter(pattern=pattern, reference_type=reference_type, position=position).exists():
                rule.save(force_insert=True)


def unallocated(*, tenant: Tenant | str) -> list[Form]:
    """Return the money that came in by itself and that nobody knows yet what for, newest first."""
    with scope(tenant=_tenant(tenant)):
        found = Payment.objects.filter(allocated=False).order_by("-created", "-pk")
        return [public_form(each) for each in found.prefetch_related("operations", "disputes")]


def allocate(*, tenant: Tenant | str, payment: str, reference: tuple[str, str], actor: str = ACTOR) -> Form:
    """Say what such money is for; `payment.allocated` follows. Raises `Conflict` where that is said already."""
    given = _checked(AllocateSerializer(data={"reference": _reference(reference)}))["reference"]
    owner = _tenant(tenant)
    with scope(tenant=owner):
        _found(payment)
        done = services.allocate_payment(
            tenant=owner, payment_id=payment, reference_type=given["type"], reference_id=given["id"], actor=actor
        )
        return public_form(done)


# --- events back


def on_payment(event_type: str, handler: Handler, *, reference_type: str = "") -> None:
    """Call `handler(event)` for each payment event of this type (`payment.completed`, `payment.*`), in the transaction that
    books the fact: what the handler writes is there if and only if the fact is.

    `event.object` is the payment as the API shows it, `event.tenant_id` whose it is. Only payments for references of
    `reference_type`, where that is given. Call it in `AppConfig.ready`; twice is once. The handler must not touch the network.
    One that raises loses its own writes and nothing else: the fact is booked, and an alert names handler and event.
    """
    subscribe(DomainEvent, _filtered(event_type, handler, reference_type))


@cache
def _filtered(event_type: str, handler: Handler, reference_type: str) -> Handler:
    group = event_type.removesuffix("*") if event_type.endswith(".*") else ""

    def filtered(event: DomainEvent) -> None:
        if event.object_type != "payment" or not (event.type == event_type or (group and event.type.startswith(group))):
            return
        if reference_type and (event.object.get("reference") or {}).get("type") != reference_type:
            return
        try:
            with transaction.atomic():
                handler(event)
        except Exception:
            if transaction.get_connection().needs_rollback:
                raise  # the database went away: then nothing of this was booked either
            _handler_failed(handler, event)  # another app's bug must not keep money from being booked

    return filtered


def _handler_failed(handler: Handler, event: DomainEvent) -> None:
    name = f"{handler.__module__}.{handler.__qualname__}" if hasattr(handler, "__qualname__") else repr(handler)
    logger.exception("payment_handler_failed", handler=name, event_type=event.type, payment=event.object_id)
    raise_alert(
        tenant_id=event.tenant_id,
        kind="payment_handler_failed",
        subject=f"{event.object_id} {event.type}",
        message=f"{name} failed on {event.type} of {event.object_id}: see the log. The payment itself is booked.",
        level=Alert.Level.CRITICAL.value,
    )


# --- shared


def _tenant(tenant: Tenant | str) -> Tenant:
    found = tenant if isinstance(tenant, Tenant) else Tenant.objects.filter(slug=tenant).first()
    if found is None or not found.is_active:
        raise InvalidRequest("There is no such tenant.", attr="tenant")
    return found


def _ready(tenant: Tenant | str) -> Tenant:
    """Return the tenant; raise `NetworkInsideTransaction` where a gateway could not be asked, before anything is written."""
    refuse_inside_transaction()
    return _tenant(tenant)


def _found(payment_id: str) -> Payment:
    found = Payment.objects.filter(pk=payment_id).first()
    if found is None:
        raise PaymentNotFound("There is no such payment.", attr="payment")
    return found


def _payment_form(payment_id: str) -> Form:
    return public_form(Payment.objects.get(pk=payment_id))


def _payments(reference: tuple[str, str]) -> Any:
    kind, name = reference
    return Payment.objects.filter(reference_type=kind, reference_id=name).order_by("-created", "-pk")


def _reference(reference: tuple[str, str]) -> dict[str, str]:
    kind, name = reference
    return {"type": kind, "id": name}


def _given(**members: Any) -> Form:
    return {name: value for name, value in members.items() if value is not None and value not in ("", {})}


def _checked(serializer: Serializer[Any]) -> Form:
    """Return the cleaned body; raise `InvalidRequest` that names the first member that is wrong."""
    try:
        serializer.is_valid(raise_exception=True)
    except ShapeError as error:
        first = flatten_errors(error.detail)[0]
        raise InvalidRequest(str(first.detail), attr=first.attr) from error
    cleaned: Form = serializer.validated_data
    return cleaned
