"""What an admin can do with a payment: offered where its status and its gateway's matrix allow, done by the services."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest

from integrations.adminbase.base import Button, TenantScopedAdmin
from integrations.adminbase.render import money
from integrations.contracts.errors import Conflict, ProviderError
from integrations.contracts.payment_features import GatewayOperation
from integrations.secrets import SecretUnreadable
from payments import services
from payments.admin.forms import AllocateForm, CaptureForm, DecideForm, DecideOperationForm, RefundForm, SendReceiptForm
from payments.gateway import payment_features
from payments.models import DeliveryState, Operation, OperationKind, OperationStatus, Payment, Status
from payments.services.cancel import unsent_request
from payments.services.operations import doubtful_operation, resolve_operation
from payments.transitions import is_held, is_open

_WAITS = (Status.REQUIRES_ACTION, Status.PROCESSING)
_TO_DECIDE = (Status.NEEDS_REVIEW, Status.CONFLICTED, Status.UNKNOWN)


class PaymentButtons(TenantScopedAdmin):
    """The buttons of a payment's page. What a gateway answers is told as it is: done, under way, refused or unknown."""

    buttons = (
        Button("sync", "Ask the provider now", "sync", "primary"),
        Button("capture", "Capture", "price_check", "primary", form=CaptureForm),
        Button("refund", "Refund", "undo", form=RefundForm),
        Button(
            "cancel",
            "Cancel",
            "cancel",
            "danger",
            "Call this payment off? What is held is released; a request that waits for the payer is withdrawn.",
        ),
        Button("allocate", "Allocate", "assignment_turned_in", "primary", form=AllocateForm),
        Button("receipt", "Send receipt", "forward_to_inbox", form=SendReceiptForm),
        Button("decide", "Decide by hand", "gavel", form=DecideForm),
        Button("decide_operation", "Decide capture or refund", "gavel", "primary", form=DecideOperationForm),
    )

    def offers(self, request: HttpRequest, obj: Payment, button: Button) -> bool:
        match button.name:
            case "sync":
                # A decided payment is asked about for refunds and disputes made at the gateway, which needs its id there.
                waits = is_open(obj.status) or is_held(obj.status) or bool(obj.provider_ref)
                return waits and _can(obj, GatewayOperation.SYNC)
            case "capture":
                return is_held(obj.status) and obj.amount_capturable > 0 and _can(obj, GatewayOperation.CAPTURE)
            case "refund":
                left = obj.amount_captured - obj.amount_refunded - obj.amount_disputed
                paid = obj.status in (Status.SUCCEEDED, Status.PARTIALLY_CAPTURED)
                return paid and left > 0 and _can(obj, GatewayOperation.REFUND)
            case "cancel":
                return _cancellable(obj)
            case "allocate":
                return not obj.allocated and obj.status == Status.SUCCEEDED
            case "receipt":
                return services.has_receipt(obj)
            case "decide_operation":
                return doubtful_operation(obj) is not None
            case _:
                return obj.status in _TO_DECIDE

    def press_sync(self, request: HttpRequest, obj: Payment) -> str:
        decided = not (is_open(obj.status) or is_held(obj.status))
        found = services.sync_payment(payment=obj, actor=_actor(request), decided_too=decided)
        return f"The provider was asked: the payment is {_shown(found)}."

    def press_capture(self, request: HttpRequest, obj: Payment, data: dict[str, Any]) -> None:
        known = _known(obj)
        found = services.capture_payment(
            tenant=obj.tenant,
            payment_id=obj.pk,
            amount=data["amount"],
            final=True if data["final"] else None,
            actor=_actor(request),
        )
        self._tell(request, found, "capture", known, OperationKind.CAPTURE)

    def press_refund(self, request: HttpRequest, obj: Payment, data: dict[str, Any]) -> None:
        known = _known(obj)
        services.refund_payment(
            tenant=obj.tenant, payment_id=obj.pk, amount=data["amount"], reason=data["reason"], actor=_actor(request)
        )
        obj.refresh_from_db()
        self._tell(request, obj, "refund", known, OperationKind.REFUND)

    def press_cancel(self, request: HttpRequest, obj: Payment) -> str | None:
        known = _known(obj)
        found = services.cancel_payment(tenant=obj.tenant, payment_id=obj.pk, actor=_actor(request))
        if set(found.operations.values_list("pk", flat=True)) == known:  # the request had never left the hub
            return f"Called off before it was sent: the payment is {_shown(found)}."
        self._tell(request, found, "cancellation", known, OperationKind.VOID, OperationKind.CANCEL)
        return None

    def press_allocate(self, request: HttpRequest, obj: Payment, data: dict[str, Any]) -> str:
        services.allocate_payment(
            tenant=obj.tenant,
            payment_id=obj.pk,
            reference_type=data["reference_type"],
            reference_id=data["reference_id"],
            actor=_actor(request),
        )
        return f"Allocated to {data['reference_type']} {data['reference_id']}."

    def press_receipt(self, request: HttpRequest, obj: Payment, data: dict[str, Any]) -> str | None:
        delivery = services.issue_receipt(payment=obj, channel=data["channel"], to=data["to"], actor=_actor(request))
        how = f"The receipt by {delivery.way}"
        if delivery.state == DeliveryState.FAILED:
            self.message_user(request, f"{how} is not sent: {delivery.detail}.", messages.ERROR)
            return None
        return f"{how} is on its way."

    def press_decide(self, request: HttpRequest, obj: Payment, data: dict[str, Any]) -> str:
        found = services.resolve_payment(
            tenant=obj.tenant,
            payment_id=obj.pk,
            paid=data["paid"] == "yes",
            receipt=data["receipt"],
            note=data["note"],
            actor=_actor(request),
        )
        return f"Decided: the payment is {_shown(found)}."

    def press_decide_operation(self, request: HttpRequest, obj: Payment, data: dict[str, Any]) -> str:
        waiting = doubtful_operation(obj)
        if waiting is None:
            raise Conflict("No capture or refund waits for a decision any more.")
        found = resolve_operation(
            tenant=obj.tenant,
            operation_id=waiting.pk,
            happened=data["happened"] == "yes",
            note=data["note"],
            actor=_actor(request),
        )
        _level, outcome = _outcome(found)
        return f"Decided: the {found.kind} of {money(found.amount, obj.currency)} {outcome}."

    def _tell(self, request: HttpRequest, payment: Payment, what: str, known: set[str], *kinds: OperationKind) -> None:
        """Say what became of each operation that was not there before; a refund may be several."""
        for each in payment.operations.filter(kind__in=kinds).exclude(pk__in=known).order_by("created", "pk"):
            level, outcome = _outcome(each)
            text = f"The {what} of {money(each.amount, payment.currency)} {outcome}; the payment is {_shown(payment)}."
            self.message_user(request, text, level)


def _outcome(operation: Operation) -> tuple[int, str]:
    match operation.status:
        case OperationStatus.SUCCEEDED:
            return messages.SUCCESS, "is done"
        case OperationStatus.PENDING:
            return messages.INFO, "is under way"
        case OperationStatus.FAILED:
            return messages.ERROR, f"failed ({(operation.failure or {}).get('message') or 'the gateway gave no reason'})"
        case _:
            return messages.WARNING, "was sent and its outcome is not known yet"


def _can(payment: Payment, operation: GatewayOperation) -> bool:
    """Tell whether the payment's account can do it; not where its gateway is gone or its config can't be opened."""
    try:
        return operation.value in payment_features(payment).operations
    except (ProviderError, SecretUnreadable):
        return False


def _cancellable(payment: Payment) -> bool:
    if is_held(payment.status):
        return _can(payment, GatewayOperation.VOID)
    if payment.status not in _WAITS:
        return False
    if payment.provider_ref:
        return _can(payment, GatewayOperation.CANCEL)
    return unsent_request(payment) is not None  # then no gateway has a say


def _known(payment: Payment) -> set[str]:
    return set(payment.operations.values_list("pk", flat=True))


def _shown(payment: Payment) -> str:
    return payment.get_status_display().lower()


def _actor(request: HttpRequest) -> str:
    return f"user {request.user.get_username()}"
