"""What is not known yet is not decided: by no click, no clock, no outage and no clerk."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.errors import Conflict, ProviderUnavailable, UnsupportedOperation
from integrations.contracts.payment import PaymentResult, PaymentState
from integrations.models import Attempt, Config, QueueItem, Tenant
from integrations.runtime.queue import cancel_item, enqueue
from payments.gateway import payment_query
from payments.jobs.asking import ConfirmJob, PollJob
from payments.models import LedgerEntry, Operation, Payment
from payments.services import allocate_payment, resolve_payment
from tests.factories import MovableClock, make_config
from tests.payments.conftest import Ask

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("in_scope")]


@pytest.fixture
def flutterwave(tenant: Tenant) -> Config:
    return make_config(tenant, "flutterwave")


def question(payment: Payment, kind: str = "payment.poll") -> QueueItem:
    return enqueue(tenant_id=payment.tenant_id, kind=kind, payload={"payment": payment.pk, "number": 0, "operation": ""})


def state(payment: Payment) -> str:
    payment.refresh_from_db()
    return payment.status


def test_money_on_its_way_has_not_lapsed(ask: Ask, flutterwave: Config, clock: MovableClock) -> None:
    """A bank transfer through a hosted page takes longer than the page lives."""
    payment = ask("requires_action", config=flutterwave, provider="flutterwave", method_type="redirect", provider_ref="1")
    clock.advance(3 * 3600)
    PollJob().succeeded(question(payment), PaymentResult(PaymentState.PROCESSING, "1"))
    assert state(payment) == "requires_action"
    PollJob().succeeded(question(payment), PaymentResult(PaymentState.REQUIRES_ACTION, "1"))
    assert state(payment) == "expired"


def test_a_gateway_that_is_away_spoils_no_open_payment(ask: Ask) -> None:
    payment = ask("requires_action", provider_ref="1", next_action={"type": "redirect", "url": "https://pay.example/1"})
    ConfirmJob().failed(question(payment, "payment.confirm"), ProviderUnavailable("away"))
    assert (state(payment), payment.next_action) == ("requires_action", {"type": "redirect", "url": "https://pay.example/1"})
    assert QueueItem.unscoped.filter(kind="payment.poll", reference_id=payment.pk, state="pending").count() == 1
    ConfirmJob().failed(question(payment, "payment.confirm"), UnsupportedOperation("can't be asked"))
    assert state(payment) == "needs_review"


@pytest.mark.parametrize("doubt", ["sending", "unknown"])
def test_what_may_have_happened_can_not_be_cancelled_in_the_queue(ask: Ask, tenant: Tenant, clock: Any, doubt: str) -> None:
    payment = ask()
    operation = payment.operations.get()
    item = enqueue(
        tenant_id=tenant.pk,
        kind="payment.authorize",
        payload={"payment": payment.pk, "operation": operation.pk},
        key=operation.pk,
    )
    Attempt.objects.create(tenant=tenant, item=item, fence=1, operation="authorize", state=doubt, started_at=clock.moment)
    before = (list(LedgerEntry.objects.values()), list(Operation.objects.values()))
    with pytest.raises(Conflict, match="may have had its effect"):
        cancel_item(item.pk, tenant_id=tenant.pk, by="admin")
    item.refresh_from_db()
    assert (item.state, state(payment)) == ("pending", "processing")
    assert (list(LedgerEntry.objects.values()), list(Operation.objects.values())) == before


@pytest.mark.parametrize(("attempts", "item_state", "asked"), [(0, "processing", 1), (1, "processing", 2), (3, "completed", 3)])
def test_the_question_names_every_try(ask: Ask, tenant: Tenant, attempts: int, item_state: str, asked: int) -> None:
    """Some gateways know each try by an id of its own."""
    payment = ask()
    operation = payment.operations.get()
    item = enqueue(tenant_id=tenant.pk, kind="payment.authorize", key=operation.pk)
    QueueItem.unscoped.filter(pk=item.pk).update(attempts=attempts, state=item_state)
    assert payment_query(payment).attempts == asked


@pytest.mark.parametrize("status", ["processing", "needs_review", "failed"])
def test_money_that_nobody_has_confirmed_is_for_nothing_yet(ask: Ask, tenant: Tenant, status: str) -> None:
    payment = ask(status, allocated=False, origin="customer")
    with pytest.raises(Conflict, match="once the gateway has confirmed it"):
        allocate_payment(tenant=tenant, payment_id=payment.pk, reference_type="wallet", reference_id="W-1", actor="clerk")
    payment.refresh_from_db()
    assert (payment.allocated, payment.reference_id) == (False, "INV-7")


@pytest.mark.parametrize(
    ("status", "fields"),
    [("needs_review", {"capture": "manual"}), ("conflicted", {"reported_amount": 1_500, "reported_currency": "KES"})],
)
def test_a_person_can_not_book_other_money_than_there_is(ask: Ask, tenant: Tenant, status: str, fields: Any) -> None:
    payment = ask(status, **fields)
    with pytest.raises(Conflict):
        resolve_payment(tenant=tenant, payment_id=payment.pk, paid=True, receipt="", note="statement", actor="clerk")
    assert (state(payment), payment.amount_captured, payment.receipt_number) == (status, 0, "")
    resolve_payment(tenant=tenant, payment_id=payment.pk, paid=False, receipt="", note="statement", actor="clerk")
    assert state(payment) == "failed"
