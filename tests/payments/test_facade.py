"""The Python facade without a gateway: looking, allocating, events back, and what it refuses before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django_scopes import scope

from integrations import events
from integrations.contracts.errors import Conflict, InvalidRequest, NotConfigured
from integrations.events import DomainEvent
from integrations.http.client import NetworkInsideTransaction
from integrations.models import Alert, IdempotencyRecord, Tenant
from payments import facade
from payments.models import AllocationRule, Payment, Status
from payments.outcomes import apply_report
from payments.selectors import public_form
from tests.factories import make_payer_method, make_payment
from tests.payments.conftest import Ask, report
from webhooks.outbound.models import Event

INVOICE = ("invoice", "INV-7")


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subscriptions of this test end with it."""
    monkeypatch.setitem(events._handlers, DomainEvent, list(events._handlers[DomainEvent]))


@pytest.fixture
def pay(ask: Ask) -> Callable[..., Payment]:
    """`pay(**fields)`: a payment that the gateway has just reported as paid."""

    def paid(**fields: Any) -> Payment:
        payment = ask(**fields)
        apply_report(payment.pk, report(amount=payment.amount))
        payment.refresh_from_db()
        return payment

    return paid


def request(tenant: Tenant | str, **more: Any) -> Any:
    given = {"key": "k", "amount": 150_000, "currency": "KES", "method": "mobile_money", "phone": "0712345678"}
    return facade.request_payment(tenant=tenant, **given | more)


def nothing_was_made() -> bool:
    return not Payment.unscoped.exists() and not IdempotencyRecord.unscoped.exists()


# --- refused before anything is made


@pytest.mark.parametrize(
    ("wrong", "attr"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 10.5}, "amount"),
        ({"currency": "kes"}, "currency"),
        ({"method": "cash"}, "method.type"),
        ({"phone": ""}, "method.phone"),
        ({"phone": "12"}, "method.phone"),
        ({"capture": "later"}, "capture"),
        ({"reference": ("invoice", "x" * 101)}, "reference.id"),
        ({"customer": {"shoe_size": "44"}}, "customer.shoe_size"),
        ({"metadata": {"a": "x" * 501}}, "metadata.a"),
        ({"key": ""}, "key"),
        ({"key": "k" * 256}, "key"),
        ({"key": "a\nb"}, "key"),
        ({"amount": 150_050}, "amount"),
        ({"token": "pm_" + "0" * 26}, "method.token"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_request_names_what_is_wrong_and_makes_nothing(
    tenant: Tenant, mpesa: Any, wrong: dict[str, Any], attr: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        request(tenant, **wrong)
    assert refused.value.attr == attr
    assert nothing_was_made()


def test_without_an_account_nothing_is_made_and_the_key_stays_free(tenant: Tenant) -> None:
    for _again in range(2):
        with pytest.raises(NotConfigured):
            request(tenant)
    assert nothing_was_made()


def test_inside_a_transaction_nothing_is_made(tenant: Tenant, mpesa: Any) -> None:
    with transaction.atomic():
        with pytest.raises(NetworkInsideTransaction):
            request(tenant)
        for act in (facade.capture, facade.refund):
            with pytest.raises(NetworkInsideTransaction):
                act(tenant=tenant, key="k", payment="pay_x")
        for asked in (facade.cancel, facade.sync):
            with pytest.raises(NetworkInsideTransaction):
                asked(tenant=tenant, payment="pay_x")
    assert nothing_was_made()


def test_an_unknown_or_closed_tenant_is_refused(tenant: Tenant, mpesa: Any) -> None:
    tenant.is_active = False
    tenant.save()
    for whose in ("nobody", tenant.slug, tenant):
        with pytest.raises(InvalidRequest) as refused:
            request(whose)
        assert refused.value.attr == "tenant"
    assert nothing_was_made()


def test_another_tenants_payment_is_not_found_by_any_function(tenant: Tenant, other_tenant: Tenant) -> None:
    mine = make_payment(tenant, reference_type="invoice", reference_id="INV-7", receipt_number="2026-000001", allocated=False)
    before = Payment.unscoped.filter(pk=mine.pk).values().get()
    common = {"tenant": other_tenant, "payment": mine.pk}
    for ask_for in (
        lambda: facade.get_payment(**common),
        lambda: facade.capture(**common, key="k"),
        lambda: facade.refund(**common, key="k"),
        lambda: facade.cancel(**common),
        lambda: facade.sync(**common),
        lambda: facade.receipt_pdf(**common),
        lambda: facade.receipt_html(**common),
        lambda: facade.allocate(**common, reference=INVOICE),
    ):
        with pytest.raises(facade.PaymentNotFound):
            ask_for()
    assert facade.payments_for(tenant=other_tenant, reference=INVOICE) == []
    assert facade.money_received(tenant=other_tenant, reference=INVOICE) == {}
    assert facade.unallocated(tenant=other_tenant) == []
    assert Payment.unscoped.filter(pk=mine.pk).values().get() == before
    assert not IdempotencyRecord.unscoped.exists()


def test_another_tenants_stored_card_is_not_found(tenant: Tenant, other_tenant: Tenant, mpesa: Any) -> None:
    card = make_payer_method(mpesa)
    with pytest.raises(InvalidRequest) as refused:
        request(other_tenant, method="card", phone="", token=card.pk)
    assert refused.value.attr == "method.token"
    assert nothing_was_made()


# --- looking


def test_what_is_returned_is_the_payment_of_the_api(tenant: Tenant, admin_api: Any) -> None:
    payment = make_payment(tenant, reference_type="invoice", reference_id="INV-7")
    shown = admin_api.get(f"/api/v1/payments/{payment.pk}").json()
    assert facade.get_payment(tenant=tenant, payment=payment.pk) == shown
    assert facade.get_payment(tenant=tenant.slug, payment=payment.pk) == shown
    assert facade.payments_for(tenant=tenant, reference=INVOICE) == [shown]


def test_the_payments_of_a_reference_newest_first_and_what_stayed_of_them(tenant: Tenant) -> None:
    first = make_payment(tenant, reference_type="invoice", reference_id="INV-7", amount_refunded=50_000)
    fields = {"amount": 900, "amount_authorized": 900, "amount_captured": 900, "currency": "USD"}
    second = make_payment(
        tenant, reference_type="invoice", reference_id="INV-7", **fields, created=first.created + timedelta(seconds=5)
    )
    make_payment(tenant, reference_type="wallet", reference_id="INV-7")
    make_payment(tenant, reference_type="invoice", reference_id="INV-70")
    open_one = {"status": Status.PROCESSING, "amount_authorized": 0, "amount_captured": 0}
    third = make_payment(
        tenant, reference_type="invoice", reference_id="INV-7", **open_one, created=first.created + timedelta(seconds=9)
    )
    found = facade.payments_for(tenant=tenant, reference=INVOICE)
    assert [each["id"] for each in found] == [third.pk, second.pk, first.pk]
    assert facade.money_received(tenant=tenant, reference=INVOICE) == {"KES": 100_000, "USD": 900}


def test_receipts(tenant: Tenant, pay: Callable[..., Payment], ask: Ask) -> None:
    paid, unpaid = pay(), ask()
    assert facade.receipt_pdf(tenant=tenant, payment=paid.pk).startswith(b"%PDF-")
    assert paid.receipt_number in facade.receipt_html(tenant=tenant, payment=paid.pk)
    for receipt in (facade.receipt_pdf, facade.receipt_html):
        with pytest.raises(Conflict):
            receipt(tenant=tenant, payment=unpaid.pk)


# --- money that customers send by themselves


def test_a_rule_is_added_once_and_a_broken_one_not_at_all(tenant: Tenant) -> None:
    for _again in range(2):
        facade.add_allocation_rule(tenant=tenant, pattern=r"W-\d+", reference_type="wallet")
    with pytest.raises(InvalidRequest) as refused:
        facade.add_allocation_rule(tenant=tenant, pattern="W-(", reference_type="wallet")
    assert refused.value.attr == "pattern"
    with scope(tenant=tenant):
        rules = AllocationRule.objects.values_list("pattern", "reference_type", "position")
        assert list(rules) == [(r"W-\d+", "wallet", 10)]


def test_unallocated_money_is_listed_until_somebody_says_what_it_is_for(tenant: Tenant, bus: None) -> None:
    heard: list[DomainEvent] = []
    facade.on_payment("payment.allocated", heard.append, reference_type="wallet")
    payment = make_payment(tenant, allocated=False, account_number="W17")
    (listed,) = facade.unallocated(tenant=tenant)
    assert listed["id"] == payment.pk
    with pytest.raises(InvalidRequest) as refused:
        facade.allocate(tenant=tenant, payment=payment.pk, reference=("wallet", ""))
    assert (refused.value.attr, heard) == ("reference.id", [])

    done = facade.allocate(tenant=tenant, payment=payment.pk, reference=("wallet", "W-17"), actor="cashier")
    assert (done["allocated"], done["reference"]) == (True, {"type": "wallet", "id": "W-17"})
    assert facade.unallocated(tenant=tenant) == []
    assert [event.object["id"] for event in heard] == [payment.pk]
    with pytest.raises(Conflict):
        facade.allocate(tenant=tenant, payment=payment.pk, reference=("wallet", "W-18"))
    with scope(tenant=tenant):
        assert payment.ledger.get().actor == "cashier"


# --- events back


def test_a_handler_hears_its_own_events_once_each(tenant: Tenant, bus: None, pay: Callable[..., Payment], ask: Ask) -> None:
    heard: dict[str, list[tuple[str, str]]] = {"completed": [], "all": [], "wallet": []}

    def note(name: str) -> facade.Handler:
        return lambda event: heard[name].append((event.type, event.object_id))

    completed = note("completed")
    facade.on_payment("payment.completed", completed)
    facade.on_payment("payment.completed", completed)
    facade.on_payment("payment.*", note("all"), reference_type="invoice")
    facade.on_payment("payment.completed", note("wallet"), reference_type="wallet")

    paid, topped_up = pay(), pay(reference_type="wallet", reference_id="W-17", account_number="W-17", provider_ref="x")
    failed = ask()
    apply_report(failed.pk, report("failed"))

    assert heard["completed"] == [("payment.completed", paid.pk), ("payment.completed", topped_up.pk)]
    assert heard["all"] == [("payment.completed", paid.pk), ("payment.failed", failed.pk)]
    assert heard["wallet"] == [("payment.completed", topped_up.pk)]


def test_the_event_carries_the_payment_as_it_is_booked(tenant: Tenant, bus: None, pay: Callable[..., Payment]) -> None:
    heard: list[DomainEvent] = []
    facade.on_payment("payment.completed", heard.append)
    payment = pay()
    assert [(event.tenant_id, event.object) for event in heard] == [(tenant.pk, public_form(payment))]


def test_what_a_handler_writes_is_there_only_if_the_fact_is(tenant: Tenant, bus: None, ask: Ask) -> None:
    facade.on_payment("payment.completed", _write_a_tenant)
    payment = ask()
    with transaction.atomic():
        apply_report(payment.pk, report(amount=payment.amount))
        assert Tenant.objects.filter(slug=payment.pk[-10:]).exists()
        transaction.set_rollback(True)
    assert not Tenant.objects.filter(slug=payment.pk[-10:]).exists()
    apply_report(payment.pk, report(amount=payment.amount))
    assert Tenant.objects.filter(slug=payment.pk[-10:]).count() == 1


def test_a_handler_that_breaks_loses_its_own_writes_and_nothing_else(tenant: Tenant, bus: None, ask: Ask) -> None:
    heard: list[str] = []
    facade.on_payment("payment.completed", _write_and_break)
    facade.on_payment("payment.completed", lambda event: heard.append(event.object_id))
    payment = ask()

    apply_report(payment.pk, report(amount=payment.amount))

    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured, heard) == ("succeeded", 150_000, [payment.pk])
    assert not Tenant.objects.filter(slug=payment.pk[-10:]).exists()
    assert Event.objects.filter(type="payment.completed", object_id=payment.pk).count() == 1
    alert = Alert.objects.get(kind="payment_handler_failed")
    assert (alert.tenant_id, alert.subject, alert.level) == (tenant.pk, f"{payment.pk} payment.completed", "critical")
    assert "_write_and_break" in alert.message
    assert "secret detail" not in alert.message


def _write_a_tenant(event: DomainEvent) -> None:
    Tenant.objects.create(slug=event.object_id[-10:], name="written by a handler")


def _write_and_break(event: DomainEvent) -> None:
    _write_a_tenant(event)
    Tenant.objects.create(slug=event.object_id[-10:], name="secret detail: breaks the unique slug")
