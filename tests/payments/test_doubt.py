"""What is not known yet is not decided: by no click, no clock, no outage and no clerk."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.errors import Conflict, InvalidRequest, ProviderUnavailable, UnsupportedOperation
from integrations.contracts.ids import new_id, new_token
from integrations.contracts.payment import PaymentResult, PaymentState
from integrations.models import Alert, Attempt, Config, QueueItem, Tenant
from integrations.runtime.queue import cancel_item, enqueue
from payments.gateway import payment_query
from payments.jobs.asking import ConfirmJob, PollJob
from payments.models import LedgerEntry, Operation, Payment
from payments.services import allocate_payment, resolve_payment
from payments.services.operations import doubtful_operation, resolve_operation
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


def doubtful(payment: Payment, kind: str, amount: int) -> Operation:
    """An operation that the gateway could not tell of, with its alert."""
    operation = Operation(
        id=new_id("re" if kind == "refund" else "op"), tenant=payment.tenant, payment=payment, kind=kind, status="needs_review",
        amount=amount, idempotency_key=new_token(), hook_token=new_token(), created=payment.created, updated=payment.created,
    )  # fmt: skip
    operation.save(force_insert=True)
    Alert.objects.create(tenant=payment.tenant, kind=f"{kind}_needs_review", subject=operation.pk, message="look")
    return operation


def decide(operation: Operation, happened: bool, note: str = "as the statement says") -> Operation:
    return resolve_operation(tenant=operation.tenant, operation_id=operation.pk, happened=happened, note=note, actor="clerk")


@pytest.mark.parametrize(("happened", "refunded", "status"), [(True, 50_000, "succeeded"), (False, 0, "failed")])
def test_a_person_decides_a_refund(ask: Ask, happened: bool, refunded: int, status: str) -> None:
    payment = ask("succeeded", operation="succeeded", amount_authorized=150_000, amount_captured=150_000, receipt="R1")
    refund = doubtful(payment, "refund", 50_000)
    assert doubtful_operation(payment) == refund
    assert decide(refund, happened).status == status
    payment.refresh_from_db()
    assert (payment.amount_captured, payment.amount_refunded) == (150_000, refunded)
    assert "decided by a person: as the statement says" in LedgerEntry.objects.filter(payment=payment).last().reason
    assert not Alert.objects.filter(kind="refund_needs_review", resolved_at=None).exists()
    assert doubtful_operation(payment) is None
    with pytest.raises(Conflict):
        decide(refund, not happened)


@pytest.mark.parametrize(("happened", "captured", "status"), [(True, 50_000, "partially_captured"), (False, 0, "authorized")])
def test_a_person_decides_a_capture(ask: Ask, happened: bool, captured: int, status: str) -> None:
    payment = ask("authorized", operation="succeeded", capture="manual", amount_authorized=150_000)
    capture = doubtful(payment, "capture", 50_000)
    Operation.objects.filter(pk=capture.pk).update(final=False)
    assert decide(capture, happened).status == ("succeeded" if happened else "failed")
    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured, payment.amount_capturable) == (status, captured, 150_000 - captured)


def test_a_decision_has_its_grounds(ask: Ask) -> None:
    refund = doubtful(ask("succeeded", operation="succeeded", amount_authorized=150_000, amount_captured=150_000), "refund", 1)
    with pytest.raises(InvalidRequest):
        decide(refund, True, " ")
    refund.refresh_from_db()
    assert refund.status == "needs_review"
