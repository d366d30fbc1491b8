"""A gateway whose books a test writes, and payments that stand in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django_scopes import scope

from integrations import registry
from integrations.contracts.capabilities import Capability
from integrations.contracts.ids import new_id, new_token
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    GatewayTransaction,
    PaymentResult,
    PaymentState,
    TransactionKind,
    TransactionPage,
    TransactionsQuery,
)
from integrations.models import Config, QueueItem, Tenant
from integrations.models import Provider as ProviderRow
from payments.models import Operation, Payment, ReconciliationLine, ReconciliationRun
from payments.services import start_reconciliation
from tests.factories import START, make_payment, work_off
from tests.payments.fake_gateway import SLUG, FakeGateway, fake_provider

SINCE, UNTIL = START - timedelta(hours=33), START - timedelta(hours=9)
NOON = SINCE + timedelta(hours=12)
Line = tuple[str, str, int | None, int | None]


class ListingGateway(FakeGateway):
    """Lists its books."""

    features = replace(FakeGateway.features, operations=FakeGateway.features.operations | {"transactions"})

    def transactions(self, query: TransactionsQuery) -> TransactionPage:
        return self._next("transactions", query)  # type: ignore[no-any-return]


@contextmanager
def installed(monkeypatch: pytest.MonkeyPatch, *, lists: bool) -> Iterator[type[FakeGateway]]:
    """Install the fake gateway, with a list of its books or without; it must be asked for every answer written for it."""
    where = "reconciling:ListingGateway" if lists else "fake_gateway:FakeGateway"
    declared = replace(fake_provider(), adapters={Capability.PAYMENT: where})
    known = registry.providers()
    monkeypatch.setattr(registry, "providers", lambda: {**known, SLUG: declared})
    FakeGateway.answers.clear()
    FakeGateway.asked.clear()
    yield FakeGateway
    assert {name: left for name, left in FakeGateway.answers.items() if left} == {}, "never asked for"


def connect(tenant: Tenant) -> Config:
    ProviderRow.objects.get_or_create(slug=SLUG, defaults={"name": "Sample Pay", "categories": ["payment"]})
    row = Config(tenant=tenant, provider_id=SLUG, environment="production", values={})
    row.set_secrets({"api_key": "sample-key-0123456789"})
    row.save()
    return row


def paid(config: Config, ref: str, *, at: datetime = NOON, **fields: Any) -> Payment:
    """Return a payment of KES 1,500.00 at the config's gateway, under `ref` there; `operation`: its request's status."""
    status = fields.pop("operation", "succeeded")
    values = {"provider": config.provider_id, "config": config, "provider_ref": ref, "created": at, "updated": at, **fields}
    payment = make_payment(config.tenant, **values)
    operation(payment, "authorize", f"ch-{ref}", at=at, status=status)
    return payment


def operation(payment: Payment, kind: str, ref: str, *, at: datetime = NOON, **fields: Any) -> Operation:
    values: dict[str, Any] = {
        "id": new_id("re" if kind == "refund" else "op"),
        "config": payment.config,
        "provider": payment.provider,
        "kind": kind,
        "status": "succeeded",
        "amount": payment.amount,
        "provider_ref": ref,
        "idempotency_key": new_token(),
        "hook_token": new_token(),
        "created": at,
        "updated": at,
        **fields,
    }
    return Operation.unscoped.create(tenant_id=payment.tenant_id, payment=payment, **values)


def told(kind: str, number: str, *refs: str, at: datetime = NOON, amount: int = 150_000, **fields: Any) -> GatewayTransaction:
    """Return a line of the gateway's, with a fee of KES 45.00 for a charge."""
    fee = Money(4500, "KES") if kind == "charge" else None
    given: dict[str, Any] = {"refs": refs, "fee": fee, **fields}
    return GatewayTransaction(TransactionKind(kind), number, Money(amount, "KES"), at, **given)


def start(config: Config, since: datetime = SINCE, until: datetime = UNTIL) -> ReconciliationRun:
    with scope(tenant=config.tenant):
        return start_reconciliation(config=config, since=since, until=until, actor="test")


def reconcile(config: Config, *pages: TransactionPage | Exception, **window: datetime) -> ReconciliationRun:
    """Reconcile against these pages to the end, questions included."""
    FakeGateway.answers["transactions"] += pages
    run = start(config, **window)
    work_off()
    return fresh(run)


def fresh(run: ReconciliationRun) -> ReconciliationRun:
    return ReconciliationRun.unscoped.get(pk=run.pk)


def page(*transactions: GatewayTransaction, cursor: str = "") -> TransactionPage:
    return TransactionPage(transactions, cursor)


def lines(run: ReconciliationRun) -> list[Line]:
    rows = ReconciliationLine.unscoped.filter(run=run).order_by("pk")
    return [(row.kind, row.provider_ref, row.gateway_amount, row.ledger_amount) for row in rows]


def step(run: ReconciliationRun) -> QueueItem:
    return QueueItem.unscoped.get(reference_type="reconciliation", reference_id=str(run.pk), state="pending")


def questions(tenant: Tenant) -> list[str]:
    return list(QueueItem.unscoped.filter(tenant=tenant, kind="payment.confirm").values_list("reference_id", flat=True))


def still_running() -> PaymentResult:
    return PaymentResult(PaymentState.PROCESSING)


def said(ref: str, state: str = "succeeded", **fields: Any) -> PaymentResult:
    amount = fields.pop("amount", None)
    money = Money(amount, "KES") if amount is not None else None
    return PaymentResult(PaymentState(state), ref, money=money, **fields)


def ask_about(config: Config, *answers: PaymentResult | Exception) -> ReconciliationRun:
    FakeGateway.answers["payment_status"] += answers
    run = start(config)
    work_off()
    return fresh(run)
