"""Stripe's objects as the hub's facts. Pure: reads plain dictionaries, asks nobody. A wrong shape is a `WireError`.

Field meanings: api reference at version 2023-10-16; what differs in later versions is read tolerantly (provider sheet).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureFact,
    DisputeFact,
    DisputeState,
    PaymentResult,
    PaymentState,
    RefundFact,
    RefundState,
    StoredMethod,
)
from integrations.contracts.payment_features import MethodType
from integrations.contracts.wire import Wire, WireError
from integrations.providers.stripe import codes
from integrations.providers.stripe.money import from_units

PAYMENT_ID, OPERATION_ID, SETUP_ID = "payment_id", "operation_id", "setup_id"
CAPTURE_NOTE = "capture_"
"""Captures have no ids at Stripe: each of ours leaves `capture_<operation id>: <amount>` in the payment's metadata, written
by the very call that captures."""

OPEN_STATES = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})

_STATES: Mapping[str, PaymentState] = {
    "requires_action": PaymentState.REQUIRES_ACTION,
    "processing": PaymentState.PROCESSING,
    "requires_capture": PaymentState.AUTHORIZED,
    "succeeded": PaymentState.SUCCEEDED,
}
_REFUND_STATES: Mapping[str, RefundState] = {
    "pending": RefundState.PROCESSING,
    "requires_action": RefundState.PROCESSING,
    "succeeded": RefundState.SUCCEEDED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}
_DISPUTE_STATES: Mapping[str, DisputeState] = {
    "warning_needs_response": DisputeState.INQUIRY,
    "warning_under_review": DisputeState.INQUIRY,
    "warning_closed": DisputeState.CLOSED,
    "needs_response": DisputeState.NEEDS_RESPONSE,
    "under_review": DisputeState.UNDER_REVIEW,
    "won": DisputeState.WON,
    "lost": DisputeState.LOST,
    "prevented": DisputeState.CLOSED,
}


class Reader:
    """Reads one account's objects. `ugx_decimals` as in its config."""

    def __init__(self, ugx_decimals: str = "") -> None:
        self._ugx_decimals = ugx_decimals

    def money(self, units: int, currency: str) -> Money:
        return from_units(units, currency, self._ugx_decimals)

    def aside(self, units: int, currency: str) -> Money | None:
        """Return an amount that is only noted (a fee), None where ISO 4217 can't express it: 145.5 krónur, say. What is
        noted beside a payment must not make the payment unreadable."""
        try:
            return self.money(units, currency)
        except (WireError, InvalidRequest):
            return None

    # --- payments

    def payment(
        self,
        raw: Mapping[str, Any],
        *,
        method: MethodType | None,
        refunds: Iterable[Mapping[str, Any]] | None = None,
        disputes: Iterable[Mapping[str, Any]] | None = None,
    ) -> PaymentResult:
        """Return what a PaymentIntent says, `latest_charge` expanded or not.

        With `method` REDIRECT the payer is still at the page after a declined card and may try another: waiting, not failed.
        """
        wire = Wire(dict(raw))
        ref = wire["id"].text(max_length=255)
        currency = wire["currency"].text(max_length=3)
        amount = wire["amount"].integer()
        status = wire["status"].text(max_length=40)
        charge = expanded(raw.get("latest_charge"))
        charge_ref = id_of(raw.get("latest_charge"))
        error = raw.get("last_payment_error")
        state = self._state(status, raw, method)
        captures = self._captures(wire, charge_ref, charge)
        refund_rows = None if refunds is None else list(refunds)
        references = [("payment_intent", ref)] + ([("charge", charge_ref)] if charge_ref else [])
        references += [("refund", str(each.get("id"))) for each in refund_rows or ()]
        dispute_rows = None if disputes is None else list(disputes)
        references += [("dispute", str(each.get("id"))) for each in dispute_rows or ()]
        return PaymentResult(
            state,
            ref,
            receipt=charge_ref if state is PaymentState.SUCCEEDED else "",
            money=self.money(amount, currency),
            failure=codes.failure_of(error) if state is PaymentState.FAILED and isinstance(error, dict) else None,
            # On the hub's page Stripe's script leads to the bank and back; the bank's address leads nowhere once it was used.
            next_action=None if method is MethodType.REDIRECT else redirect_of(raw),
            references=tuple(references),
            provider_code=status,
            captures=captures,
            refunds=None if refund_rows is None else self._refunds(refund_rows, amount, captures, status, charge),
            disputes=None if dispute_rows is None else tuple(self.dispute(each) for each in dispute_rows),
            capturable=self.money(_integer(raw.get("amount_capturable")), currency),
            expires_at=moment(_card(charge).get("capture_before")) if state is PaymentState.AUTHORIZED else None,
            fee=self._fee(charge, captures),
            payer=_payer(charge),
            method_name=_method_name(charge),
            method_detail=_method_detail(charge),
        )

    def _state(self, status: str, raw: Mapping[str, Any], method: MethodType | None) -> PaymentState:
        if status == "canceled":
            lapsed = raw.get("cancellation_reason") == "automatic"
            return PaymentState.EXPIRED if lapsed else PaymentState.CANCELLED
        if status in ("requires_payment_method", "requires_confirmation"):
            if method is MethodType.REDIRECT:
                return PaymentState.REQUIRES_ACTION
            # Confirmed by our server alone: after a refused attempt nobody can confirm it again.
            failed = status == "requires_payment_method" and isinstance(raw.get("last_payment_error"), dict)
            return PaymentState.FAILED if failed else PaymentState.UNKNOWN
        return _STATES.get(status, PaymentState.UNKNOWN)

    def _captures(self, wire: Wire, charge_ref: str, charge: Mapping[str, Any]) -> tuple[CaptureFact, ...]:
        """Return one fact for each capture with a note of ours, and one for whatever was captured without."""
        currency = wire["currency"].text()
        received = wire.get("amount_received")
        total = received.integer() if received else _integer(charge.get("amount_captured"))
        metadata = _object(wire.raw.get("metadata"))
        found = []
        notes = {
            name.removeprefix(CAPTURE_NOTE): int(value)
            for name, value in sorted(metadata.items())
            if name.startswith(CAPTURE_NOTE) and str(value).isdigit() and int(value) > 0
        }
        if len(notes) == 1 and 0 < total < sum(notes.values()):
            notes = dict.fromkeys(notes, total)  # another amount than we asked for: still that capture, and no other
        for operation, units in notes.items():
            if units <= total:
                total -= units
                ref = capture_ref(charge_ref, operation)
                found.append(
                    CaptureFact(
                        ref, self.money(units, currency), RefundState.SUCCEEDED, operation_id=operation, receipt=charge_ref
                    )
                )
        if total > 0:
            automatic = wire.raw.get("capture_method") != "manual"
            operation = str(metadata.get(OPERATION_ID, "")) if automatic else ""
            found.append(
                CaptureFact(
                    charge_ref or wire["id"].text(), self.money(total, currency), RefundState.SUCCEEDED,
                    operation_id=operation, receipt=charge_ref,
                )
            )  # fmt: skip
        fee = self._fee(charge, tuple(found))
        if fee is not None and len(found) == 1:
            only = found[0]
            return (CaptureFact(only.provider_ref, only.money, only.state, only.operation_id, only.receipt, fee),)
        return tuple(found)

    def _fee(self, charge: Mapping[str, Any], captures: tuple[CaptureFact, ...]) -> Money | None:
        """Return the fee where one balance transaction tells it all: with several captures there are several."""
        line = expanded(charge.get("balance_transaction"))
        if len(captures) != 1 or "fee" not in line:
            return None
        return self.aside(_integer(line["fee"]), str(line.get("currency")))

    # --- refunds and disputes

    def _refunds(
        self,
        rows: list[Mapping[str, Any]],
        amount: int,
        captures: tuple[CaptureFact, ...],
        status: str,
        charge: Mapping[str, Any],
    ) -> tuple[RefundFact, ...]:
        """Return the refunds of captured money, newest first as listed.

        A hold that was released (a void, the rest of a partial capture, an expiry) counts at Stripe as refunded too, and may be
        among the refund objects: no money moved. What the charge counts tells how much of the list that is; it is the oldest
        of what is not ours, for a hold is released before anything can be refunded.
        """
        if not captures:
            return ()
        released = max(0, amount - _integer(charge.get("amount_captured"))) if status in ("succeeded", "canceled") else 0
        returned = max(0, _integer(charge.get("amount_refunded")) - released)
        listed = sum(_integer(raw.get("amount")) for raw in rows if raw.get("status") not in ("failed", "canceled"))
        surplus = min(released, listed - returned)
        facts = []
        for raw in reversed(rows):
            units = _integer(raw.get("amount"))
            ours = OPERATION_ID in _object(raw.get("metadata"))
            if not ours and raw.get("status") == "succeeded" and units <= surplus:
                surplus -= units
                continue
            facts.append(self.refund(raw))
        return tuple(reversed(facts))

    def refund(self, raw: Mapping[str, Any]) -> RefundFact:
        """Return what a refund object says."""
        wire = Wire(dict(raw))
        state = _REFUND_STATES.get(str(raw.get("status") or ""), RefundState.UNKNOWN)
        metadata = _object(raw.get("metadata"))
        ref = wire["id"].text(max_length=255)
        return RefundFact(
            ref,
            self.money(wire["amount"].integer(), wire["currency"].text(max_length=3)),
            state,
            operation_id=str(metadata.get(OPERATION_ID, "")),
            receipt=str(raw.get("receipt_number") or ref),
            reason=str(metadata.get("reason") or raw.get("reason") or ""),
            failure=codes.refund_failure(str(raw.get("failure_reason") or "")) if state is RefundState.FAILED else None,
        )

    def dispute(self, raw: Mapping[str, Any]) -> DisputeFact:
        """Return what a dispute object says; a status of later versions that we don't know counts as under review."""
        wire = Wire(dict(raw))
        lines = raw.get("balance_transactions")
        moved = sum(_integer(each.get("amount")) for each in lines if isinstance(each, dict)) if isinstance(lines, list) else 0
        return DisputeFact(
            wire["id"].text(max_length=255),
            self.money(wire["amount"].integer(), wire["currency"].text(max_length=3)),
            _DISPUTE_STATES.get(wire["status"].text(max_length=40), DisputeState.UNDER_REVIEW),
            reason=str(raw.get("reason") or ""),
            withdrawn=moved < 0,
            respond_by=moment(_object(raw.get("evidence_details")).get("due_by")),
        )


def capture_ref(charge: str, operation_id: str) -> str:
    """Return the name that a capture of ours has in the hub: the charge's id and the operation's."""
    return f"{charge}:{operation_id}"


def stored_method(raw: Mapping[str, Any], customer: str) -> StoredMethod:
    """Return an expanded PaymentMethod as a stored one."""
    wire = Wire(dict(raw))
    card = _object(raw.get("card"))
    month, year = card.get("exp_month"), card.get("exp_year")
    billing = _object(raw.get("billing_details"))
    return StoredMethod(
        token=wire["id"].text(max_length=255),
        customer_ref=customer,
        brand=str(card.get("brand") or raw.get("type") or ""),
        last4=str(card.get("last4") or ""),
        expires=f"{month:02d}/{year:04d}" if isinstance(month, int) and isinstance(year, int) else "",
        payer=str(billing.get("email") or billing.get("name") or ""),
    )


def redirect_of(raw: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the page that the payer must go to (3-D Secure), None where there is none."""
    action = _object(raw.get("next_action"))
    url = _object(action.get("redirect_to_url")).get("url")
    return {"type": "redirect", "url": url} if isinstance(url, str) and url else None


def id_of(value: Any) -> str:
    """Return the id of a member that may be expanded, an id, or null."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else ""


def expanded(value: Any) -> Mapping[str, Any]:
    """Return an expanded member; empty where it is only an id or null."""
    return value if isinstance(value, dict) else {}


def moment(value: Any) -> datetime | None:
    """Return unix seconds as a time in UTC; None where there is no usable number."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 32_503_680_000:
        return None
    return datetime.fromtimestamp(value, UTC)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _integer(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise WireError("an amount is not a whole number")
    return value


def _card(charge: Mapping[str, Any]) -> Mapping[str, Any]:
    return _object(_object(charge.get("payment_method_details")).get("card"))


def _method_name(charge: Mapping[str, Any]) -> str:
    name = _object(charge.get("payment_method_details")).get("type")
    return name if isinstance(name, str) else ""


def _method_detail(charge: Mapping[str, Any]) -> str:
    card = _card(charge)
    brand, last4 = card.get("brand"), card.get("last4")
    return f"{str(brand or 'card').replace('_', ' ').title()} •••• {last4}" if last4 else ""


def _payer(charge: Mapping[str, Any]) -> str:
    billing = _object(charge.get("billing_details"))
    return str(billing.get("email") or billing.get("name") or "")
