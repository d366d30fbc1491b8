"""What PayPal's objects say, as the hub's facts: order, authorization, capture, refund, dispute.

An order that is COMPLETED only says that its intent was run: the payment inside may be declined or pending, so the statuses of
`purchase_units[0].payments` decide (Orders v2, order_status page, read 2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureFact,
    DisputeFact,
    DisputeState,
    PaymentResult,
    PaymentState,
    RefundFact,
    RefundState,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.paypal.codes import status_failure
from integrations.providers.paypal.money import from_wire

PAYER_LINKS = ("payer-action", "approve")
METHOD = "paypal"
_NONE = Wire([])

CAPTURE_STATES = {
    "COMPLETED": RefundState.SUCCEEDED,
    "PARTIALLY_REFUNDED": RefundState.SUCCEEDED,
    "REFUNDED": RefundState.SUCCEEDED,
    "PENDING": RefundState.PROCESSING,
    "DECLINED": RefundState.FAILED,
    "FAILED": RefundState.FAILED,
}
REFUND_STATES = {
    "COMPLETED": RefundState.SUCCEEDED,
    "PENDING": RefundState.PROCESSING,
    "FAILED": RefundState.FAILED,
    "CANCELLED": RefundState.FAILED,
}


def text(wire: Wire | None, name: str) -> str:
    """Return a member as text, '' where it is absent."""
    found = wire.get(name) if wire is not None else None
    return found.text() if found is not None else ""


def moment(wire: Wire | None, name: str) -> datetime | None:
    """Return an Internet date and time, None where it is absent or unreadable."""
    try:
        found = datetime.fromisoformat(text(wire, name))
    except ValueError:
        return None
    return found if found.tzinfo else None


def link(wire: Wire, *rels: str) -> str:
    """Return the first link with one of these relations, '' where there is none."""
    links = {text(each, "rel"): text(each, "href") for each in (wire.get("links") or _NONE).items()}
    return next((links[rel] for rel in rels if links.get(rel)), "")


@dataclass(frozen=True, slots=True)
class Authorization:
    """A hold. `settled`: nothing can be taken from it any more."""

    id: str
    status: str
    money: Money
    created_at: datetime | None
    expires_at: datetime | None
    reason: str = ""

    def open(self, now: datetime) -> bool:
        """Return whether something may still be taken."""
        lapsed = self.expires_at is not None and self.expires_at <= now
        return self.status in ("CREATED", "PARTIALLY_CAPTURED") and not lapsed


def authorization(wire: Wire) -> Authorization:
    return Authorization(
        id=wire["id"].text(max_length=60),
        status=wire["status"].text(max_length=40),
        money=from_wire(wire["amount"]),
        created_at=moment(wire, "create_time"),
        expires_at=moment(wire, "expiration_time"),
        reason=text(wire.get("status_details"), "reason"),
    )


def capture(wire: Wire, order_invoice: str = "") -> CaptureFact:
    """Return a capture. Its `invoice_id` is our operation's id, unless it was taken over from the order."""
    status = wire["status"].text(max_length=40)
    state = CAPTURE_STATES.get(status, RefundState.UNKNOWN)
    invoice = text(wire, "invoice_id")
    breakdown = wire.get("seller_receivable_breakdown")
    fee = breakdown.get("paypal_fee") if breakdown else None
    failed = state is RefundState.FAILED
    return CaptureFact(
        provider_ref=wire["id"].text(max_length=60),
        money=from_wire(wire["amount"]),
        state=state,
        operation_id="" if invoice == order_invoice else invoice,
        receipt=wire["id"].text() if state is RefundState.SUCCEEDED else "",
        fee=from_wire(fee) if fee else None,
        failure=status_failure(status, text(wire.get("status_details"), "reason")) if failed else None,
    )


def refund(wire: Wire) -> RefundFact:
    """Return a refund. Its `invoice_id` is ours; one made in PayPal's own pages has another, or none."""
    status = wire["status"].text(max_length=40)
    state = REFUND_STATES.get(status, RefundState.UNKNOWN)
    return RefundFact(
        provider_ref=wire["id"].text(max_length=60),
        money=from_wire(wire["amount"]),
        state=state,
        operation_id=text(wire, "invoice_id"),
        receipt=wire["id"].text() if state is RefundState.SUCCEEDED else "",
        reason=text(wire, "note_to_payer")[:200],
        failure=refund_failure(status) if state is RefundState.FAILED else None,
    )


def refund_failure(status: str) -> Failure:
    return Failure.of("refund_failed_later", provider_code=status)


WON = frozenset({"RESOLVED_SELLER_FAVOUR", "RESOLVED_WITH_PAYOUT", "DENIED"})
"""With RESOLVED_WITH_PAYOUT PayPal pays the buyer out of its own pocket (customer_disputes_v1, read 2026-11)."""

LOST = frozenset({"RESOLVED_BUYER_FAVOUR", "ACCEPTED"})


def dispute(wire: Wire) -> DisputeFact:
    """Return a dispute. `withdrawn` follows PayPal's list of money movements, where it has one."""
    stage = text(wire, "dispute_life_cycle_stage")
    inquiry = stage == "INQUIRY"
    state = _dispute_state(text(wire, "status"), text(wire.get("dispute_outcome"), "outcome_code"), inquiry)
    return DisputeFact(
        provider_ref=wire["dispute_id"].text(max_length=100),
        money=from_wire(wire["dispute_amount"]),
        state=state,
        reason=text(wire, "reason").lower(),
        withdrawn=_withdrawn(wire, state, inquiry),
        respond_by=moment(wire, "seller_response_due_date"),
    )


def _dispute_state(status: str, outcome: str, inquiry: bool) -> DisputeState:
    if status == "RESOLVED":
        if outcome in LOST:
            return DisputeState.LOST
        return DisputeState.WON if outcome in WON or not inquiry else DisputeState.CLOSED
    if inquiry:
        return DisputeState.INQUIRY
    waits_for_us = status in ("OPEN", "WAITING_FOR_SELLER_RESPONSE")
    return DisputeState.NEEDS_RESPONSE if waits_for_us else DisputeState.UNDER_REVIEW


def _withdrawn(wire: Wire, state: DisputeState, inquiry: bool) -> bool:
    movements = wire.get("money_movements")
    if movements is None:
        return state is DisputeState.LOST or (not inquiry and state not in (DisputeState.WON, DisputeState.CLOSED))
    balance = 0
    for each in movements.items():
        if text(each, "affected_party") == "SELLER" and each.get("amount") is not None:
            amount = from_wire(each["amount"]).minor_units
            balance += amount if text(each, "type") == "DEBIT" else -amount
    return balance > 0


@dataclass(frozen=True, slots=True)
class Order:
    """An order read whole. `hold` is the authorization that counts now, None where there is none."""

    id: str
    status: str
    intent: str
    money: Money
    link: str
    captures: tuple[CaptureFact, ...]
    refunds: tuple[RefundFact, ...]
    holds: tuple[Authorization, ...]
    payer: str
    final: bool = False
    references: tuple[tuple[str, str], ...] = field(default=())

    def hold(self, ref: str) -> Authorization | None:
        """Return the authorization `ref`; where that is empty, the newest that was not given up."""
        if ref:
            return next((each for each in self.holds if each.id == ref), None)
        alive = [each for each in self.holds if each.status not in ("VOIDED", "DENIED")]
        return next(reversed(alive or list(self.holds)), None)

    def without(self, *captures: RefundState) -> tuple[CaptureFact, ...]:
        return tuple(each for each in self.captures if each.state not in captures)


def order(wire: Wire) -> Order:
    """Return an order in full representation; raise `WireError` where it is none (the short form has no amounts)."""
    unit = next(iter(wire["purchase_units"].items()), None)
    if unit is None:
        raise WireError("purchase_units is empty")
    payments = unit.get("payments")
    invoice = text(unit, "invoice_id")

    def listed(name: str) -> Sequence[Wire]:
        found = payments.get(name) if payments else None
        return list((found or _NONE).items())

    captures = tuple(capture(each, invoice) for each in listed("captures"))
    refunds = tuple(refund(each) for each in listed("refunds"))
    holds = tuple(authorization(each) for each in listed("authorizations"))
    number = wire["id"].text(max_length=60)
    references = [("order", number)]
    references += [("authorization", each.id) for each in holds]
    references += [("capture", each.provider_ref) for each in captures]
    references += [("refund", each.provider_ref) for each in refunds]
    return Order(
        id=number,
        status=wire["status"].text(max_length=40),
        intent=wire["intent"].text(max_length=20),
        money=from_wire(unit["amount"]),
        link=link(wire, *PAYER_LINKS),
        captures=captures,
        refunds=refunds,
        holds=holds,
        payer=_payer(wire),
        final=any(_is_final(each) for each in listed("captures")),
        references=tuple(references),
    )


def _is_final(wire: Wire) -> bool:
    found = wire.get("final_capture")
    failed = CAPTURE_STATES.get(text(wire, "status")) is RefundState.FAILED
    return found is not None and found.raw is True and not failed


def _payer(wire: Wire) -> str:
    source = wire.get("payment_source")
    wallet = source.get(METHOD) if source else None
    return text(wallet, "email_address") or text(wire.get("payer"), "email_address")


def shown_payer(email: str) -> str:
    """Return what people may see of a payer's address (`PayPal j•••@example.com`)."""
    name, at, host = email.partition("@")
    return f"PayPal {name[:1]}•••@{host}" if at else "PayPal"


def result(
    found: Order,
    now: datetime,
    *,
    hold: Authorization | None = None,
    disputes: tuple[DisputeFact, ...] | None = None,
) -> PaymentResult:
    """Return the whole word on a payment. `hold` is the authorization to go by, where it is not the order's newest."""
    hold = hold or found.hold("")
    state, failure = _state(found, hold, now)
    taken = found.without(RefundState.FAILED)
    known = [each.fee for each in taken if each.fee is not None]
    same = len({each.currency for each in known}) == 1
    extra: dict[str, Any] = {}
    if state is PaymentState.REQUIRES_ACTION and found.link:
        extra["next_action"] = {"type": "redirect", "url": found.link}
    if hold is not None:
        left = hold.money.minor_units - sum(each.money.minor_units for each in taken)
        usable = hold.open(now) and not found.final and left > 0
        extra["capturable"] = Money(left if usable else 0, hold.money.currency)
        extra["expires_at"] = hold.expires_at if usable else None
        extra["hold_ref"] = hold.id
    return PaymentResult(
        state=state,
        provider_ref=found.id,
        receipt=next((each.receipt for each in found.captures if each.receipt), ""),
        money=found.money,
        failure=failure,
        references=found.references,
        provider_code=found.status,
        captures=found.captures,
        refunds=found.refunds,
        disputes=disputes,
        fee=Money(sum(each.minor_units for each in known), known[0].currency) if same else None,
        payer=found.payer,
        method_name=METHOD,
        method_detail=shown_payer(found.payer) if found.payer else "",
        **extra,
    )


def _state(found: Order, hold: Authorization | None, now: datetime) -> tuple[PaymentState, Failure | None]:
    if found.status == "VOIDED":
        return PaymentState.CANCELLED, None
    if found.status == "APPROVED":
        return PaymentState.APPROVED, None
    if found.status in ("CREATED", "SAVED", "PAYER_ACTION_REQUIRED"):
        return PaymentState.REQUIRES_ACTION, None
    if found.status != "COMPLETED":
        return PaymentState.UNKNOWN, None
    if hold is not None:
        return _held(found, hold, now)
    states = {each.state for each in found.captures}
    if RefundState.SUCCEEDED in states:
        return PaymentState.SUCCEEDED, None
    if RefundState.PROCESSING in states:
        return PaymentState.PROCESSING, None
    if states == {RefundState.FAILED}:
        return PaymentState.FAILED, found.captures[-1].failure
    return PaymentState.UNKNOWN, None


def _held(found: Order, hold: Authorization, now: datetime) -> tuple[PaymentState, Failure | None]:
    taken = {each.state for each in found.captures}
    left = hold.money.minor_units - sum(each.money.minor_units for each in found.without(RefundState.FAILED))
    if hold.open(now) and not found.final and left > 0:
        return PaymentState.AUTHORIZED, None
    if RefundState.SUCCEEDED in taken:
        return PaymentState.SUCCEEDED, None
    if RefundState.PROCESSING in taken or hold.status == "PENDING":
        return PaymentState.PROCESSING, None
    if hold.status == "DENIED":
        return PaymentState.FAILED, status_failure(hold.status, hold.reason)
    if hold.expires_at is not None and hold.expires_at <= now:
        return PaymentState.EXPIRED, None
    if hold.status in ("VOIDED", "EXPIRED"):
        return PaymentState.CANCELLED if hold.status == "VOIDED" else PaymentState.EXPIRED, None
    if hold.status in ("CAPTURED", "PARTIALLY_CAPTURED") and RefundState.FAILED in taken:
        return PaymentState.FAILED, found.captures[-1].failure
    return PaymentState.UNKNOWN, None
