"""Which gateways may take a payment, in which order, and when the next one may be tried."""

from __future__ import annotations

from datetime import timedelta

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest, NotConfigured, ProviderError, UnsupportedOperation
from integrations.contracts.failures import Decision, Failure
from integrations.contracts.ids import new_id, new_token
from integrations.contracts.money import Money
from integrations.contracts.payment_features import GatewayOperation, MethodType
from integrations.models import Config, QueueItem
from integrations.runtime.queue import enqueue
from integrations.runtime.resolve import find_config
from payments.gateway import features_of, gateway_class, payment_request, view_of
from payments.ledger import failure_form, write_entry
from payments.models import Operation, OperationKind, OperationStatus, Payment, RoutingRule
from payments.references import note_references, open_path

# How long a worker leaves an interactive item to the request that made it; after that the request must have died.
HEAD_START = timedelta(seconds=5)
# A payment that goes from gateway to gateway is still the payer's click of a moment ago.
LONGEST_CHASE = timedelta(minutes=5)


def candidates(
    *, tenant_id: int, provider: str | None, money: Money, method: MethodType, capture: str, config_id: int | None = None
) -> list[Config]:
    """Return the accounts that may take the payment, in the order in which they are to be tried; never an empty list.

    A named provider or account stands alone. Otherwise the tenant's first rule that fits decides, and without one the primary.
    Accounts that can't do it by their capability matrix are left out. Raises `NotConfigured`; where no account can do it, what
    the first one lacks (`InvalidRequest`, `UnsupportedOperation`).
    """
    rule = None if provider or config_id else matching_rule(tenant_id=tenant_id, money=money, method=method)
    if rule is not None:
        chosen = [step.config for step in rule.steps.select_related("config") if step.config.is_active]
    else:
        one = find_config(tenant_id=tenant_id, capability=Capability.PAYMENT.value, provider=provider, config_id=config_id)
        chosen = [one] if one is not None else []
    if not chosen:
        what = f"payment provider {provider}" if provider else f"the rule {rule.name!r}" if rule else "payments"
        raise NotConfigured(f"No active config serves {what}.", provider=provider or "", attr="provider")
    able, first_problem = [], None
    for config in chosen:
        try:
            check(config, money=money, method=method, capture=capture)
        except ProviderError as problem:
            first_problem = first_problem or problem
        else:
            able.append(config)
    if not able:
        assert first_problem is not None  # noqa: S101 tells the type checker that something was chosen
        raise first_problem
    return able


def check(config: Config, *, money: Money, method: MethodType, capture: str) -> None:
    """Raise `InvalidRequest` or `UnsupportedOperation` where this account can't do it."""
    features = features_of(config, config.provider_id)
    if capture == "manual":
        features.check(GatewayOperation.CAPTURE.value)
    features.check(GatewayOperation.AUTHORIZE.value, money, method)


def matching_rule(*, tenant_id: int, money: Money, method: MethodType) -> RoutingRule | None:
    """Return the tenant's first active rule that this payment fits, or None."""
    for rule in RoutingRule.objects.filter(tenant_id=tenant_id, is_active=True).order_by("position", "pk"):
        fits = (
            rule.currency in ("", money.currency)
            and rule.method_type in ("", method.value)
            and (rule.minimum is None or money.minor_units >= rule.minimum)
            and (rule.maximum is None or money.minor_units <= rule.maximum)
        )
        if fits:
            return rule
    return None


def ask_gateway(payment: Payment, operation: Operation, *, priority: int = 1) -> QueueItem:
    """Queue the request for the money to the payment's gateway, with everything under which that may name it."""
    open_path(payment, token=operation.hook_token, object_type="payment", object_id=payment.pk)
    note_references(payment, [("payment", payment.pk)], object_type="payment", object_id=payment.pk)
    return enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.authorize",
        payload={"payment": payment.pk, "operation": operation.pk},
        reference=("payment", payment.pk),
        key=operation.pk,
        due_at=clock.now() + HEAD_START,
        not_after=payment.not_after,
        config_id=operation.config_id,
        priority=priority,
    )


def may_fall_back(payment: Payment, failure: Failure) -> bool:
    """Tell whether the next gateway may be tried: there is one, and this failure says that another may do it."""
    return bool(payment.fallbacks) and failure.decision == Decision.OTHER_GATEWAY.value


def fall_back(payment: Payment, operation: Operation, failure: Failure) -> bool:
    """Leave a gateway that certainly charged nothing for the next one; False where none is left that can take it.

    The payment's row is locked, in the transaction that settles the failed try. The caller has made sure that nothing was
    charged: a lost answer never comes here.
    """
    if not may_fall_back(payment, failure):
        return False
    now = clock.now()
    while payment.fallbacks:
        config_id, *payment.fallbacks = payment.fallbacks
        config = Config.objects.filter(pk=config_id, is_active=True).first()
        if config is None or now > payment.created + LONGEST_CHASE:
            continue
        view = view_of(config)
        operation.status, operation.failure, operation.updated = OperationStatus.FAILED, failure_form(failure), now
        operation.provider_ref = operation.provider_ref or payment.provider_ref
        operation.save()
        left = payment.provider
        payment.config, payment.provider, payment.provider_ref, payment.hold_ref = config, config.provider_id, "", ""
        payment.next_action, payment.expires_at = None, None
        payment.not_after = min(
            now + timedelta(seconds=features_of(config, config.provider_id).validity), payment.created + LONGEST_CHASE
        )
        following = new_operation(payment, OperationKind.AUTHORIZE, payment.amount)
        if not _fits(payment, following, view):
            continue
        payment.updated = now
        payment.save()
        following.save(force_insert=True)
        write_entry(
            payment,
            actor="hub",
            reason=f"{left} charged nothing ({failure.code}); {payment.provider} is asked instead",
            from_status=payment.status,
            operation=following,
            amount=payment.amount,
        )
        ask_gateway(payment, following)
        return True
    return False


def _fits(payment: Payment, operation: Operation, view: ConfigView) -> bool:
    gateway = gateway_class(payment.provider)
    request = payment_request(payment, operation)
    try:
        gateway.check(request, view)
    except (InvalidRequest, UnsupportedOperation):
        return False
    payment.account_number = gateway.shown_reference(request)
    return True


def new_operation(payment: Payment, kind: OperationKind, amount: int, **fields: object) -> Operation:
    """Return an unsaved operation of the payment at the account where it is now."""
    now = clock.now()
    operation_id = new_id("re" if kind == OperationKind.REFUND else "op")
    return Operation(
        id=operation_id,
        tenant_id=payment.tenant_id,
        payment=payment,
        config_id=payment.config_id,
        provider=payment.provider,
        kind=kind,
        amount=amount,
        idempotency_key=operation_id,
        hook_token=new_token(),
        created=now,
        updated=now,
        **fields,
    )
