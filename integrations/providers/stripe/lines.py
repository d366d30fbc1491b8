"""Stripe's books: balance transactions as the hub's lines for reconciliation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.errors import ProviderUnavailable
from integrations.contracts.payment import GatewayTransaction, TransactionKind, TransactionPage, TransactionsQuery
from integrations.contracts.wire import Wire, WireError
from integrations.providers.stripe.calls import PAGE, Calls
from integrations.providers.stripe.reading import PAYMENT_ID, Reader, expanded, id_of, moment

_KINDS: Mapping[str, TransactionKind] = {
    "charge": TransactionKind.CHARGE,
    "payment": TransactionKind.CHARGE,
    "refund": TransactionKind.REFUND,
    "payment_refund": TransactionKind.REFUND,
    "stripe_fee": TransactionKind.FEE,
    "stripe_fx_fee": TransactionKind.FEE,
    "tax_fee": TransactionKind.FEE,
    "application_fee": TransactionKind.FEE,
}


def page(calls: Calls, reader: Reader, query: TransactionsQuery) -> TransactionPage:
    """Return one page, newest first. Raises `Refused`, `ProviderError`, `WireError`."""
    created = {"gte": int(query.since.timestamp()), "lt": int(query.until.timestamp())}
    after: dict[str, Any] = {"starting_after": query.cursor} if query.cursor else {}
    raw = calls.get(
        "/v1/balance_transactions", operation="transactions", limit=PAGE, created=created, expand=["data.source"], **after
    )
    data = raw.get("data")
    if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
        raise ProviderUnavailable("Stripe's list could not be read.", provider_code="unreadable")
    more = raw.get("has_more") is True and bool(data)
    return TransactionPage(tuple(_line(reader, each) for each in data), id_of(data[-1]) if more else "")


def _line(reader: Reader, raw: Mapping[str, Any]) -> GatewayTransaction:
    wire = Wire(dict(raw))
    currency = wire["currency"].text(max_length=3)
    occurred = moment(wire["created"].integer())
    if occurred is None:
        raise WireError("created is no time")
    source = expanded(raw.get("source"))
    kind = _kind(str(raw.get("type") or ""), source)
    amount, paid_in = wire["amount"].integer(), currency
    # The books are in the settlement currency; what the payer paid is in its own, and stands at the source alone.
    if source.get("currency") not in (None, currency) and isinstance(source.get("amount"), int):
        captured = source.get("amount_captured") if source.get("object") == "charge" else None
        amount, paid_in = (captured if isinstance(captured, int) else source["amount"]), str(source["currency"])
    metadata = source.get("metadata")
    note = metadata.get(PAYMENT_ID) if isinstance(metadata, dict) else None
    refs = [id_of(source) or id_of(raw.get("source")), id_of(source.get("payment_intent")), id_of(source.get("charge"))]
    return GatewayTransaction(
        kind=kind,
        provider_ref=wire["id"].text(max_length=255),
        money=reader.money(abs(amount), paid_in),
        occurred_at=occurred,
        refs=tuple(dict.fromkeys(each for each in refs if each)),
        payment_id=note if isinstance(note, str) else "",
        fee=reader.aside(wire["fee"].integer(), currency),
        net=reader.aside(wire["net"].integer(), currency),
        description=str(raw.get("description") or raw.get("type") or "")[:200],
    )


def _kind(named: str, source: Mapping[str, Any]) -> TransactionKind:
    """Return what a line is; a dispute is an adjustment whose source is a dispute, money back from a failed refund `other`."""
    if source.get("object") == "dispute":
        return TransactionKind.DISPUTE
    return _KINDS.get(named, TransactionKind.OTHER)
