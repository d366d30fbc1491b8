"""A customer's payment that an unsigned notice told first: the gateway's own word, when it comes, counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from integrations.contracts.inbound import MoneyReceived, Trust
from integrations.contracts.money import Money
from integrations.contracts.payment import IncomingPayment
from integrations.events import DomainEvent
from integrations.models import Config, Tenant
from payments.handlers import on_money_received
from payments.models import LedgerEntry, Payment
from tests.factories import make_config

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("in_scope")]
RECEIPT = "UGA3K7P2QX"


@pytest.fixture
def mpesa(tenant: Tenant) -> Config:
    return make_config(tenant, "mpesa")


def told(config: Config, trust: Trust, amount: int = 150_000) -> MoneyReceived:
    incoming = IncomingPayment(RECEIPT, Money(amount, "KES"), "INV-0042", "600000", payer="+254712345678")
    return MoneyReceived(
        provider="mpesa", tenant_id=config.tenant_id, config_id=config.pk, trust=trust, receipt_id=1, payment=incoming
    )


@pytest.mark.parametrize("asked", ["processing", "needs_review", "failed"])
def test_the_gateways_confirmation_books_what_a_hint_had_announced(
    mpesa: Config, emitted: list[DomainEvent], asked: str
) -> None:
    on_money_received(told(mpesa, Trust.HINT))
    payment = Payment.objects.get()
    assert payment.status == "processing"
    Payment.objects.filter(pk=payment.pk).update(status=asked)  # what the question about the hint may have come to meanwhile
    for _ in range(2):
        on_money_received(told(mpesa, Trust.TOKEN))
    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured, Payment.objects.count()) == ("succeeded", 150_000, 1)
    assert [event.type for event in emitted].count("payment.completed") == 1


def test_a_hint_about_another_amount_books_nothing_by_itself(mpesa: Config) -> None:
    on_money_received(told(mpesa, Trust.HINT, amount=1))
    on_money_received(told(mpesa, Trust.TOKEN))
    payment = Payment.objects.get()
    assert payment.status == "conflicted"


def test_a_hint_after_the_confirmation_changes_nothing(mpesa: Config) -> None:
    on_money_received(told(mpesa, Trust.TOKEN))
    entries = LedgerEntry.objects.count()
    on_money_received(replace(told(mpesa, Trust.HINT), receipt_id=2))
    assert (Payment.objects.get().status, LedgerEntry.objects.count()) == ("succeeded", entries)
