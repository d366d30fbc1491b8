"""Flutterwave's own books: refunds of some transactions, and everything of a span of time for reconciliation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

from integrations.contracts.errors import InvalidRequest, NotFound
from integrations.contracts.payment import (
    GatewayTransaction,
    RefundState,
    TransactionKind,
    TransactionPage,
    TransactionsQuery,
)
from integrations.contracts.wire import Wire
from integrations.providers.flutterwave import references
from integrations.providers.flutterwave.calls import MOST_PAGES, Flutterwave, readable
from integrations.providers.flutterwave.codes import SUCCESSFUL
from integrations.providers.flutterwave.reading import Refund, Transaction, read_refund, read_transaction, refunded_transaction

R = TypeVar("R")
CHARGES, REFUNDS = "charges", "refunds"


class TooManyPages(Exception):
    """The list goes on: what was read is not all."""


def all_refunds(api: Flutterwave, since: date | None, of: Collection[str]) -> Iterator[Refund]:
    """Yield the refunds of these transactions, from a day on where the list heeds `from`; `TooManyPages` after the last page
    that is read.

    There is no documented way to ask for one transaction's refunds, and that the list heeds `from` is unconfirmed.
    """

    def read(data: Wire) -> Refund | None:
        return read_refund(data) if refunded_transaction(data) in of else None

    query = {"from": since.isoformat()} if since else {}
    for number, (page, more) in enumerate(api.pages("/refunds", query, read, operation="status"), 1):
        yield from (each for each in page if each is not None)
        if more and number == MOST_PAGES:
            raise TooManyPages


def refunds_of(api: Flutterwave, transactions: Sequence[Transaction]) -> list[Refund] | None:
    """Return all refunds of these transactions, oldest first; None where the account has too many to find them."""
    ids = {each.id for each in transactions}
    days = [each.created_at.date() for each in transactions if each.created_at is not None]
    since = min(days) - timedelta(days=1) if len(days) == len(transactions) else None
    try:
        found = {each.id: each for each in all_refunds(api, since, ids)}
    except TooManyPages:
        return None
    return sorted(found.values(), key=lambda each: int(each.id))


def transactions(api: Flutterwave, query: TransactionsQuery) -> TransactionPage:
    """Return a page of successful transactions, after the last of these the pages of refunds. Days are asked for, so
    both are cut to the span here. A refund names no currency: its transaction is asked for it."""
    kind, _, number = (query.cursor or f"{CHARGES}:1").partition(":")
    if kind not in (CHARGES, REFUNDS) or not number.isdigit():
        raise InvalidRequest("This is no cursor of this provider.", attr="cursor")
    asked = {"from": query.since.date().isoformat(), "to": query.until.date().isoformat()}
    following = int(number) + 1
    if kind == CHARGES:
        charges, more = _page(api, "/transactions", asked, lambda each: _charge(each, query), int(number))
        return TransactionPage(charges, f"{CHARGES}:{following}" if more else f"{REFUNDS}:1")
    made, more = _page(api, "/refunds", asked, lambda each: _made(each, query), int(number))
    known = {number: _transaction(api, number) for number in {each.transaction for each in made}}
    with readable():
        lines = [_refund_line(each, paid) for each in made if (paid := known[each.transaction]) is not None]
    return TransactionPage(tuple(lines), f"{REFUNDS}:{following}" if more else "")


def _page(
    api: Flutterwave, path: str, asked: Mapping[str, str], read: Callable[[Wire], R | None], number: int
) -> tuple[tuple[R, ...], bool]:
    listed, more = next(api.pages(path, asked, read, operation="transactions", first=number), ([], False))
    return tuple(each for each in listed if each is not None), more


def _within(moment: datetime | None, query: TransactionsQuery) -> bool:
    return moment is not None and query.since <= moment < query.until


def _charge(data: Wire, query: TransactionsQuery) -> GatewayTransaction | None:
    if data["status"].text(max_length=100).strip().lower() != SUCCESSFUL:
        return None
    found = read_transaction(data)
    if found.created_at is None or not _within(found.created_at, query):
        return None
    return GatewayTransaction(
        kind=TransactionKind.CHARGE,
        provider_ref=found.id,
        money=found.amount,
        occurred_at=found.created_at,
        refs=tuple(ref for ref in (found.tx_ref, found.id, found.flw_ref) if ref),
        payment_id=references.payment_id(found.tx_ref),
        fee=found.fee,
        net=found.settled,
        description=found.payment_type,
    )


@dataclass(frozen=True, slots=True)
class _Made:
    """A refund of the span that did not fail."""

    refund: Refund
    at: datetime

    @property
    def transaction(self) -> str:
        return self.refund.transaction


def _made(data: Wire, query: TransactionsQuery) -> _Made | None:
    refund = read_refund(data)
    if refund.state is RefundState.FAILED or refund.created_at is None or not _within(refund.created_at, query):
        return None
    return _Made(refund, refund.created_at)


def _refund_line(made: _Made, paid: Transaction) -> GatewayTransaction:
    refund = made.refund
    ours = references.refund_id(refund.comment)
    return GatewayTransaction(
        kind=TransactionKind.REFUND,
        provider_ref=refund.id,
        money=refund.money(paid.amount.currency),
        occurred_at=made.at,
        refs=tuple(ref for ref in (refund.id, ours, paid.tx_ref, paid.id) if ref),
        payment_id=references.payment_id(paid.tx_ref),
        description=refund.comment,
    )


def _transaction(api: Flutterwave, number: str) -> Transaction | None:
    """Return what a refund was taken from; None (then no amount can be stated) where verify does not know it."""
    try:
        return api.get(f"/transactions/{number}/verify", lambda said: read_transaction(said["data"]), operation="transactions")
    except NotFound:
        return None
