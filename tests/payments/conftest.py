"""Payments in the state that a test needs, without a gateway: what a gateway says is handed in as a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django_scopes import scope

from integrations import events
from integrations.contracts import clock as hub_clock
from integrations.contracts.ids import new_id, new_token
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentState
from integrations.models import Config, Tenant
from payments.models import Operation, Payment
from payments.outcomes import Report
from tests.factories import MovableClock, make_config

Ask = Callable[..., Payment]


def report(state: str = "succeeded", **fields: Any) -> Report:
    """Return a gateway's word; `amount` in minor units where it states one."""
    amount = fields.pop("amount", None)
    if amount is not None:
        fields["money"] = Money(amount, fields.pop("currency", "KES"))
    return Report(state=PaymentState(state), actor="gateway", reason=f"says {state}", **fields)


@pytest.fixture
def in_scope(tenant: Tenant, clock: MovableClock) -> Iterator[None]:
    with scope(tenant=tenant):
        yield


@pytest.fixture
def mpesa(tenant: Tenant) -> Config:
    return make_config(tenant, "mpesa")


@pytest.fixture
def ask(tenant: Tenant, mpesa: Config, in_scope: None) -> Ask:
    """`ask(status="processing", **fields)`: a payment of KES 1,500.00 that was asked for, with its operation pending."""

    def make(status: str = "processing", *, operation: str = "pending", **fields: Any) -> Payment:
        now = hub_clock.now()
        values: dict[str, Any] = {
            "tenant": tenant,
            "config": mpesa,
            "provider": mpesa.provider_id,
            "status": status,
            "amount": 150_000,
            "currency": "KES",
            "method_type": "mobile_money",
            "phone": "+254712345678",
            "reference_type": "invoice",
            "reference_id": "INV-7",
            "account_number": "INV-7",
            "hook_token": new_token(),
            "created": now,
            "updated": now,
            **fields,
        }
        payment = Payment(**values)
        payment.save(force_insert=True)
        Operation(
            id=new_id("op"), tenant=tenant, payment=payment, kind="authorize", status=operation, amount=payment.amount,
            idempotency_key=new_token(), hook_token=new_token(), created=now, updated=now,
        ).save(force_insert=True)  # fmt: skip
        return payment

    return make


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> list[events.DomainEvent]:
    """The facts that are published from now on, as every subscriber gets them."""
    seen: list[events.DomainEvent] = []
    monkeypatch.setitem(events._handlers, events.DomainEvent, [*events._handlers[events.DomainEvent], seen.append])
    return seen
