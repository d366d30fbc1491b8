"""What the search has found, each story told by hand and then taken to its end like any other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integrations.models import Alert
from payments.models import LedgerEntry, Operation, OperationStatus, Payment, Status
from tests.payments.property.machine import Payments

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("model_gateways")]


@pytest.fixture
def story() -> Iterator[Payments]:
    """A story without payments yet; at its end hub and gateway are compared."""
    told = Payments()
    yield told
    told.teardown()


def only_payment(story: Payments) -> Payment:
    return Payment.unscoped.get(tenant=story.tenant)


def statuses(story: Payments, kind: str) -> list[str]:
    rows = Operation.unscoped.filter(tenant=story.tenant, kind=kind).order_by("created", "id")
    return [operation.status for operation in rows]


def test_a_release_whose_answer_was_lost_did_not_happen_where_the_dashboard_took_the_hold(story: Payments) -> None:
    """The release stayed `unknown` for good."""
    story.first(style="searchable", page=False, manual=True)
    story.cancel_or_sync(what="cancel", which=0, fault=("lost_before",))
    assert statuses(story, "void") == [OperationStatus.UNKNOWN]
    story.dashboard(action="capture", part=1.0, which=0)

    story.time_passes(seconds=130, works=True)

    assert only_payment(story).status == Status.SUCCEEDED
    assert statuses(story, "void") == [OperationStatus.FAILED]


@pytest.mark.parametrize("fault", ["crash_marked", "crash_after"])
def test_a_withdrawal_whose_answer_was_lost_is_settled_by_asking(story: Payments, fault: str) -> None:
    """It stayed `unknown`; where it had not happened, the payment could neither be cancelled again nor lapse."""
    story.first(style="keyed", page=True, manual=False)
    story.cancel_or_sync(what="cancel", which=0, fault=(fault,))
    story.time_passes(seconds=130, works=True)
    assert statuses(story, "cancel") == [OperationStatus.UNKNOWN]

    story.time_passes(seconds=130, works=True)

    happened = fault == "crash_after"
    assert statuses(story, "cancel") == [OperationStatus.SUCCEEDED if happened else OperationStatus.FAILED]
    assert only_payment(story).status == (Status.CANCELLED if happened else Status.REQUIRES_ACTION)
    if not happened:
        story.cancel_or_sync(what="cancel", which=0, fault=())
        assert only_payment(story).status == Status.CANCELLED
        assert statuses(story, "cancel") == [OperationStatus.FAILED, OperationStatus.SUCCEEDED]


def test_that_nobody_paid_in_time_is_not_concluded_from_questions_without_answer(story: Payments) -> None:
    """The payer had paid, the notice was lost, the gateway did not answer for a while: the payment expired, with the money."""
    story.first(style="searchable", page=True, manual=False)
    story.payer_acts(which=0, pays=True)
    story.callback(which=0, fate="lose")
    for _question in range(3):
        story.next_question_goes_wrong(operation="payment_status")

    story.time_passes(seconds=15_000, works=True)  # past `lapses`, not yet past `silence`
    for _try in range(2):
        story.time_passes(seconds=70, works=True)

    assert not story.books.faults["payment_status"]
    payment = only_payment(story)
    assert (payment.status, payment.amount_captured) == (Status.SUCCEEDED, 150_000)
    went = LedgerEntry.unscoped.filter(tenant=story.tenant).order_by("id").values_list("to_status", flat=True)
    assert list(went) == ["processing", "requires_action", "succeeded"]


def test_after_a_refused_refund_the_one_that_stood_in_its_way_is_learned(story: Payments) -> None:
    """A refund in the dashboard did not fit beside our own, undecided one. When ours was refused nobody looked again."""
    story.first(style="keyed", page=False, manual=False)
    story.refund(which=0, part=0.9, fault=("lost_before",))
    story.dashboard(action="refund", part=1.0, which=0)
    story._deliver_all()
    story.time_passes(seconds=0, works=True)
    assert only_payment(story).amount_refunded == 0

    story.time_passes(seconds=10, works=True)

    assert statuses(story, "refund") == [OperationStatus.FAILED, OperationStatus.SUCCEEDED]
    assert only_payment(story).amount_refunded == 150_000


def test_another_amount_that_is_told_only_after_success_calls_a_person(story: Payments) -> None:
    """A gateway that says `paid` without an amount, and the amount by a later callback: nobody compared it."""
    story.authorize("prompt", page=False, manual=False, amount=150_000, fault=("wrong_amount",))
    story.payer_acts(which=0, pays=True)
    story.time_passes(seconds=70, works=True)
    assert only_payment(story).status == Status.SUCCEEDED
    for fate in ("repeat", "deliver"):
        story.callback(which=0, fate=fate)

    assert only_payment(story).reported_amount == 149_900
    alerts = Alert.objects.filter(tenant=story.tenant, kind="payment_report_mismatch", resolved_at=None)
    assert [alert.subject for alert in alerts] == [only_payment(story).pk]
