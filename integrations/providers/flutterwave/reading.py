"""Flutterwave's transactions and refunds as the hub's facts. Shapes: answers to verify and to refunds (v3 docs, 2026-11)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from integrations.contracts.failures import Failure
from integrations.contracts.money import InvalidMoney, Money
from integrations.contracts.payment import CaptureFact, RefundFact, RefundResult, RefundState
from integrations.contracts.wire import Wire, WireError
from integrations.providers.flutterwave import references
from integrations.providers.flutterwave.codes import FAILED, SUCCESSFUL, refund_failure_of, refund_state
from integrations.providers.flutterwave.money import read_fee, read_money

M_PESA_MODEL = "LIPA_MPESA"
NOT_SAID = frozenset({"", "n/a"})


@dataclass(frozen=True, slots=True)
class Transaction:
    """One attempt to pay. `amount` is what was to be paid (`charged_amount` may include fees passed on to the payer)."""

    id: str
    tx_ref: str
    flw_ref: str
    status: str
    amount: Money
    fee: Money | None
    settled: Money | None
    processor_response: str
    payment_type: str
    payer: str
    detail: str
    created_at: datetime | None

    @property
    def successful(self) -> bool:
        return self.status == SUCCESSFUL

    @property
    def failed(self) -> bool:
        return self.status == FAILED

    def fact(self) -> CaptureFact:
        """Return the money that this attempt brought; its id is what refunds name."""
        return CaptureFact(self.id, self.amount, RefundState.SUCCEEDED, receipt=self.flw_ref, fee=self.fee)


@dataclass(frozen=True, slots=True)
class Refund:
    """One refund. It names no currency: its transaction has it."""

    id: str
    transaction: str
    amount: Decimal
    state: RefundState
    word: str
    comment: str
    created_at: datetime | None

    def money(self, currency: str) -> Money:
        try:
            return Money.from_decimal(self.amount, currency)
        except InvalidMoney as error:
            raise WireError("amount_refunded is no amount of its currency") from error

    def fact(self, currency: str) -> RefundFact:
        return RefundFact(
            self.id,
            self.money(currency),
            self.state,
            operation_id=references.refund_id(self.comment),
            reason=self.comment,
            failure=self.failure,
        )

    def result(self, currency: str) -> RefundResult:
        """Return how it stands; raise `WireError` where the amount is none of this currency."""
        return RefundResult(self.state, self.id, failure=self.failure, money=self.money(currency))

    @property
    def failure(self) -> Failure | None:
        return refund_failure_of(self.word) if self.state is RefundState.FAILED else None


def read_transaction(data: Wire) -> Transaction:
    """Read a transaction as verify, the list and a charge give it. Raises `WireError`."""
    currency = data["currency"].text(max_length=3)
    try:
        amount = read_money(data["amount"], currency)
    except InvalidMoney as error:
        raise WireError("currency is no currency") from error
    settled = data.get("amount_settled")
    return Transaction(
        id=str(data["id"].integer()),
        tx_ref=data["tx_ref"].text(max_length=200),
        flw_ref=_said(data, "flw_ref"),
        status=data["status"].text(max_length=100).strip().lower(),
        amount=amount,
        fee=read_fee(data, currency),
        settled=_exact(settled, currency) if settled else None,
        processor_response=_said(data, "processor_response"),
        payment_type=_said(data, "payment_type"),
        payer=_payer(data),
        detail=_detail(data),
        created_at=_moment(data),
    )


def read_refund(data: Wire) -> Refund:
    """Read a refund; members come in snake case and in camel case (refund pages of the docs differ). Raises `WireError`."""
    word = _either(data, "status", "Status").text(max_length=100)
    return Refund(
        id=str(_either(data, "id", "Id").integer()),
        transaction=refunded_transaction(data),
        amount=_either(data, "amount_refunded", "AmountRefunded").decimal(),
        state=refund_state(word),
        word=word,
        comment=_comment(data),
        created_at=_moment(data),
    )


def refunded_transaction(data: Wire) -> str:
    """Return the id of the transaction that a refund was taken from."""
    return str(_either(data, "tx_id", "TransactionId").integer())


def _either(data: Wire, name: str, other: str) -> Wire:
    return data.get(name) or data.get(other) or data[name]


def _said(data: Wire, name: str) -> str:
    found = data.get(name)
    text = found.text() if found else ""
    return "" if text.strip().lower() in NOT_SAID else text.strip()


def _comment(data: Wire) -> str:
    """Return what we wrote as `comments`. Where an answer gives it back is not documented: these places are looked at."""
    for name in ("comments", "comment", "Comments"):
        found = data.get(name)
        if found is not None and isinstance(found.raw, str):
            return found.raw
    meta = data.get("meta")
    if meta is not None and isinstance(meta.raw, str):
        try:
            meta = Wire(json.loads(meta.raw), "meta")
        except (ValueError, RecursionError):
            return ""
    found = (meta.get("comments") or meta.get("comment")) if meta else None
    return found.raw if found is not None and isinstance(found.raw, str) else ""


def _moment(data: Wire) -> datetime | None:
    found = data.get("created_at") or data.get("createdAt")
    try:
        moment = datetime.fromisoformat(found.text(max_length=40)) if found else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _exact(amount: Wire, currency: str) -> Money | None:
    try:
        return Money.from_decimal(amount.decimal(), currency)
    except InvalidMoney:
        return None


def _payer(data: Wire) -> str:
    customer = data.get("customer")
    if customer is None:
        return ""
    return _said(customer, "phone_number") or _said(customer, "email")


def _detail(data: Wire) -> str:
    """Return what people may see of how was paid: the brand and last four digits of a card, of a wallet's number."""
    card = data.get("card")
    if card is not None:
        last = _said(card, "last_4digits")[-4:]
        brand = _said(card, "type").title()
        return f"{brand} •••• {last}".strip() if last else brand
    if _said(data, "auth_model") == M_PESA_MODEL:
        customer = data.get("customer")
        number = _said(customer, "phone_number") if customer else ""
        return f"M-Pesa •••• {number[-4:]}" if len(number) > 4 else "M-Pesa"
    return ""
