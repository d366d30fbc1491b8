"""What a gateway says, applied: in any order, repeated, contradictory, for another amount, with somebody else's receipt."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.contracts.payment import IncomingPayment
from integrations.events import DomainEvent
from integrations.models import Alert, Config, ExternalReference, QueueItem, Tenant
from payments.incoming import book_incoming, find_reference
from payments.models import AllocationRule, LedgerEntry, Operation, Payment
from payments.outcomes import apply_report
from payments.schedule import schedule_give_up, schedule_poll
from tests.factories import MovableClock
from tests.payments.conftest import report

pytestmark = pytest.mark.django_db
Ask = Callable[..., Payment]


def kinds(emitted: list[DomainEvent]) -> list[str]:
    return [event.type for event in emitted]


def test_the_same_word_twice_changes_nothing_the_second_time(ask: Ask, emitted: list[DomainEvent]) -> None:
    payment = ask()
    for _ in range(3):
        apply_report(payment.pk, report(receipt="UGA3K7P2QX", amount=150_000, provider_ref="ws_CO_1"))
    payment.refresh_from_db()
    assert (payment.status, payment.receipt, payment.amount_captured) == ("succeeded", "UGA3K7P2QX", 150_000)
    assert (LedgerEntry.objects.count(), Payment.objects.count(), kinds(emitted)) == (1, 1, ["payment.completed"])


WORDS = {
    "processing": report("processing"),
    "unknown": report("unknown"),
    "failed": report("failed", failure=Failure(code="x", message="x")),
    "paid": report("succeeded", receipt="UGA3K7P2QX", amount=150_000),
}


@pytest.mark.parametrize("order", list(itertools.permutations(WORDS)), ids="-".join)
def test_in_whatever_order_the_words_come_money_that_came_in_is_booked_once(
    ask: Ask, emitted: list[DomainEvent], order: tuple[str, ...]
) -> None:
    payment = ask()
    for word in order:
        apply_report(payment.pk, WORDS[word])
    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured, payment.receipt) == ("succeeded", 150_000, "UGA3K7P2QX")
    assert payment.failure is None
    assert kinds(emitted).count("payment.completed") == 1
    assert Payment.objects.count() == 1


@pytest.mark.parametrize(("amount", "currency"), [(149_900, "KES"), (150_100, "KES"), (150_000, "TZS")])
def test_another_amount_or_currency_is_conflicted_and_books_nothing(
    ask: Ask, emitted: list[DomainEvent], amount: int, currency: str
) -> None:
    payment = ask()
    apply_report(payment.pk, report(receipt="UGA3K7P2QX", amount=amount, currency=currency))
    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured, payment.receipt_number) == ("conflicted", 0, "")
    assert (payment.reported_amount, payment.reported_currency) == (amount, currency)
    assert kinds(emitted) == ["payment.conflicted"]
    assert Alert.objects.filter(kind="payment_conflicted", subject=payment.pk, level="critical").count() == 1


def test_a_contradicting_second_word_does_not_settle_a_conflict(ask: Ask, emitted: list[DomainEvent]) -> None:
    payment = ask()
    apply_report(payment.pk, report(receipt="UGA3K7P2QX", amount=149_900))
    apply_report(payment.pk, report(receipt="UGA3K7P2QX", amount=150_000))
    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured) == ("conflicted", 0)
    assert kinds(emitted) == ["payment.conflicted"]


def test_a_second_success_with_another_receipt_is_other_money(ask: Ask, emitted: list[DomainEvent]) -> None:
    payment = ask()
    apply_report(payment.pk, report(receipt="UGA3K7P2QX", amount=150_000))
    apply_report(payment.pk, report(receipt="UGB4L8Q3RY", amount=150_000))
    second = Payment.objects.exclude(pk=payment.pk).get()
    assert (second.origin, second.status, second.receipt, second.allocated) == ("customer", "succeeded", "UGB4L8Q3RY", False)
    assert Alert.objects.filter(kind="payment_unallocated", subject=second.pk).count() == 1
    assert kinds(emitted) == ["payment.completed", "payment.completed"]
    assert {p.receipt_number for p in Payment.objects.all()} == {"2026-000001", "2026-000002"}


def test_a_receipt_learned_later_is_kept(ask: Ask, emitted: list[DomainEvent]) -> None:
    payment = ask()
    apply_report(payment.pk, report())
    apply_report(payment.pk, report(receipt="UGA3K7P2QX", amount=150_000))
    payment.refresh_from_db()
    assert payment.receipt == "UGA3K7P2QX"
    assert Operation.objects.get().receipt == "UGA3K7P2QX"
    assert kinds(emitted) == ["payment.completed"]
    assert [line.reason for line in LedgerEntry.objects.all()] == ["says succeeded", "receipt UGA3K7P2QX learned"]


def test_a_word_about_another_request_is_booked_nowhere(ask: Ask, emitted: list[DomainEvent]) -> None:
    payment = ask(provider_ref="ws_CO_1")
    apply_report(payment.pk, report(provider_ref="ws_CO_2", receipt="UGA3K7P2QX", amount=150_000))
    payment.refresh_from_db()
    assert (payment.status, payment.receipt, payment.amount_captured) == ("processing", "", 0)
    assert emitted == []
    assert Alert.objects.get().kind == "payment_report_mismatch"


@pytest.mark.parametrize(
    ("status", "after", "alert"),
    [
        ("expired", "conflicted", "payment_conflicted"),
        ("processing", "conflicted", "payment_conflicted"),
        ("conflicted", "conflicted", "payment_report_mismatch"),
        ("succeeded", "succeeded", "payment_report_mismatch"),
    ],
)
def test_a_success_with_a_receipt_that_is_booked_already_is_for_a_person(
    ask: Ask, emitted: list[DomainEvent], tenant: Tenant, mpesa: Config, status: str, after: str, alert: str
) -> None:
    """The customer's money was booked as a payment of its own first; then the callback of our request names it."""
    payment = ask(status)
    assert book(tenant, mpesa, "UGA3K7P2QX", amount=150_000) is not None

    apply_report(payment.pk, report(receipt="UGA3K7P2QX", amount=150_000))

    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured, payment.receipt) == (after, 0, "")
    assert sum(each.amount_captured for each in Payment.objects.all()) == 150_000
    assert kinds(emitted)[0] == "payment.completed"
    assert kinds(emitted)[1:] == (["payment.conflicted"] if alert == "payment_conflicted" else [])
    assert Alert.objects.filter(kind=alert, subject=payment.pk, level="critical").count() == 1


def test_references_are_kept_once(ask: Ask) -> None:
    payment = ask()
    for _ in range(2):
        apply_report(payment.pk, report("processing", references=(("checkout_request", "ws_CO_1"),), provider_ref="ws_CO_1"))
    (reference,) = ExternalReference.objects.filter(kind="checkout_request")
    assert (reference.external_id, reference.object_type, reference.object_id) == ("ws_CO_1", "payment", payment.pk)
    payment.refresh_from_db()
    assert payment.provider_ref == "ws_CO_1"


# --- money that comes by itself


def book(tenant: Tenant, config: Config, receipt: str, account: str = "INV-7", amount: int = 50_000) -> Payment | None:
    incoming = IncomingPayment(receipt=receipt, money=Money(amount, "KES"), account_number=account, destination="600984")
    return book_incoming(
        tenant_id=tenant.pk, provider="mpesa", config=config, incoming=incoming, actor="gateway", reason="told"
    )


def test_a_receipt_is_booked_once(tenant: Tenant, mpesa: Config, in_scope: None, emitted: list[DomainEvent]) -> None:
    first = book(tenant, mpesa, "UGA3K7P2QX")
    assert first is not None
    assert book(tenant, mpesa, "UGA3K7P2QX") is None
    assert (first.status, first.amount_captured, first.origin) == ("succeeded", 50_000, "customer")
    assert kinds(emitted) == ["payment.completed"]


def test_money_for_a_known_account_finds_its_reference_whatever_the_case(ask: Ask, tenant: Tenant, mpesa: Config) -> None:
    ask()
    found = book(tenant, mpesa, "UGA3K7P2QX", account="inv-7")
    assert found is not None
    assert (found.reference_type, found.reference_id, found.allocated) == ("invoice", "INV-7", True)
    assert Alert.objects.count() == 0


def test_money_for_nobody_waits_with_an_alert(tenant: Tenant, mpesa: Config, in_scope: None) -> None:
    found = book(tenant, mpesa, "UGA3K7P2QX", account="???")
    assert found is not None
    assert (found.allocated, found.status, found.reference_id) == (False, "succeeded", "")
    assert Alert.objects.get().kind == "payment_unallocated"


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ("ADM-12", ("wallet", "ADM-12")),
        ("adm-12", ("wallet", "adm-12")),
        ("ADM-12x", None),
        ("xADM-12", None),
        ("INV-9", ("invoice", "INV-9")),
        ("anything", None),
        ("", None),
    ],
)
def test_rules_match_the_whole_account_in_their_order(
    tenant: Tenant, in_scope: None, account: str, expected: tuple[str, str] | None
) -> None:
    AllocationRule.objects.create(tenant=tenant, position=20, pattern=r"(INV|ADM)-\d+", reference_type="invoice")
    AllocationRule.objects.create(tenant=tenant, position=10, pattern=r"ADM-\d+", reference_type="wallet")
    AllocationRule.objects.create(tenant=tenant, position=1, pattern=r"(broken", reference_type="never")
    assert find_reference(tenant_id=tenant.pk, account_number=account) == expected


def test_an_earlier_payment_goes_before_a_rule(ask: Ask, tenant: Tenant) -> None:
    AllocationRule.objects.create(tenant=tenant, position=1, pattern=r".*", reference_type="wallet")
    ask(reference_type="order", reference_id="O-1")
    assert find_reference(tenant_id=tenant.pk, account_number="INV-7") == ("order", "O-1")


# --- asking


def test_polls_follow_the_gateways_plan_and_the_last_interval_repeats(ask: Ask, clock: MovableClock) -> None:
    payment = ask(provider_ref="ws_CO_1")
    for number in range(7):
        schedule_poll(payment, number)
    due = [(item.due_at - payment.created).total_seconds() for item in QueueItem.objects.order_by("pk")]
    assert due == [30, 60, 120, 300, 900, 1800, 2700]
    assert {item.kind for item in QueueItem.objects.all()} == {"payment.poll"}


def test_a_payment_without_an_id_at_the_gateway_gets_a_date_for_a_person(ask: Ask, clock: MovableClock) -> None:
    payment = ask("unknown")
    schedule_give_up(payment)
    schedule_give_up(payment)
    (item,) = QueueItem.objects.all()
    assert (item.kind, (item.due_at - payment.created).total_seconds()) == ("payment.give_up", 900)


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "expired", "conflicted", "authorized"])
def test_what_is_decided_is_not_asked_about(ask: Ask, status: str) -> None:
    schedule_poll(ask(status, provider_ref="ws_CO_1"), 0)
    assert QueueItem.objects.count() == 0
