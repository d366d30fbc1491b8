"""The catalogue of event types against the code: every type that is emitted stands in it, and what is sent fulfils it."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django_scopes import scope
from jsonschema import Draft202012Validator

from integrations.contracts import clock as hub_clock
from integrations.contracts.failures import Failure
from integrations.contracts.messaging import MessageState
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureFact,
    DisputeFact,
    DisputeState,
    PaymentState,
    RefundFact,
    RefundResult,
    RefundState,
    SetupResult,
    StoredMethod,
)
from integrations.messaging.models import Recipient
from integrations.messaging.transitions import advance
from integrations.models import Config, QueueItem, Tenant
from payments.jobs.asking import ExpiryWarningJob, needs_review
from payments.models import Operation, OperationKind, Payment
from payments.outcomes import apply_report
from payments.refunds import apply_refund
from payments.routing import new_operation
from payments.services import allocate_payment
from payments.setups import apply_setup
from tests.factories import MovableClock, make_config, make_message, make_payment, make_setup
from tests.payments.conftest import ask, in_scope, mpesa, report  # noqa: F401 fixtures of the payments' own tests
from webhooks.outbound.event_types import BY_NAME, CATALOGUE, TEST_EVENT, EventType, is_reserved, is_type_name
from webhooks.outbound.models import Event

ROOT = Path(settings.BASE_DIR)
PACKAGES = ("integrations", "payments", "webhooks", "integrations_site")
EMITTERS = ("publish", "_publish", "DomainEvent")
TABLES = ("EVENTS", "EVENT_TYPES")
DYNAMIC = {
    "payments/ledger.py": {"EVENTS[target]", "event_type"},
    "payments/setups.py": {"event_type"},
    "integrations/messaging/transitions.py": {"EVENT_TYPES[state]"},
    "webhooks/outbound/publishing/publish.py": {"event.type"},
    "webhooks/outbound/publishing/own.py": {"type"},
    "webhooks/outbound/endpoints/services.py": {"type"},
    "webhooks/inbound/generic/receiving.py": {"target"},
}
"""Where the type is not written at the call: it comes from a table that is read here, from a call that is, or from a tenant
(who can't say what the hub's own families say: `is_reserved`)."""


# --- what the code emits, by its own text


def calls() -> Iterator[tuple[str, ast.expr]]:
    """Yield (file, the expression of the event's type) of each place that emits."""
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        name = path.relative_to(ROOT).as_posix()
        if "/tests/" in name:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                if called in EMITTERS and (found := _type_of(node)) is not None:
                    yield name, found


def _type_of(call: ast.Call) -> ast.expr | None:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "type"]
    if named:
        return named[0]
    return call.args[1] if len(call.args) > 1 else None


def tables() -> Iterator[str]:
    """Yield the event types in the tables that emitting code looks them up in."""
    for name in DYNAMIC:
        for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if isinstance(target, ast.Name) and target.id in TABLES and isinstance(node, ast.Assign):
                assert isinstance(node.value, ast.Dict)
                yield from (ast.literal_eval(value) for value in node.value.values)


def test_every_type_that_the_code_emits_is_in_the_catalogue_and_no_other() -> None:
    written = {node.value for _name, node in calls() if isinstance(node, ast.Constant)}
    assert {"payment.captured", "payment.refunded", "payer.stored"} <= written
    assert {"payment.completed", "payment.failed", "message.delivered"} <= set(tables())
    handed_in = {each.name for each in CATALOGUE if each.publishable}
    assert written | set(tables()) | {TEST_EVENT} == set(BY_NAME) - handed_in


def test_tenants_can_say_only_what_the_hub_does_not() -> None:
    for each in CATALOGUE:
        assert is_type_name(each.name)
        assert is_reserved(each.name) is not each.publishable, each.name


def test_no_place_emits_a_type_that_this_test_can_not_see() -> None:
    found: dict[str, set[str]] = {}
    for name, node in calls():
        if not isinstance(node, ast.Constant):
            found.setdefault(name, set()).add(ast.unparse(node))
    assert found == DYNAMIC


# --- what is really sent


@pytest.fixture
def cards(tenant: Tenant) -> Config:
    return make_config(tenant, "stripe")


@pytest.fixture
def held(ask: Callable[..., Payment], cards: Config) -> Callable[..., Payment]:  # noqa: F811
    """`held()`: a payment whose money the gateway has just said to hold."""

    def hold() -> Payment:
        payment = ask(config=cards, provider=cards.provider_id, capture="manual", method_type="card", phone="")
        expires = hub_clock.now() + timedelta(days=7)
        return apply_report(payment.pk, report("authorized", amount=payment.amount, provider_ref="pi_1", expires_at=expires))

    return hold


@pytest.fixture
def paid(ask: Callable[..., Payment]) -> Callable[..., Payment]:  # noqa: F811
    """`paid()`: a payment that the gateway has just reported as paid."""

    def pay() -> Payment:
        payment = ask(customer={"name": "Jane Wanjiku"}, metadata={"class": "5a"})
        return apply_report(payment.pk, report(amount=payment.amount, receipt="UGA3K7P2QX", fee=Money(1_500, "KES")))

    return pay


def sent(tenant: Tenant) -> list[str]:
    """Return the types of what was published, each checked against its schema, member by member."""
    found = list(Event.unscoped.filter(tenant=tenant).order_by("created", "pk"))
    for event in found:
        check(BY_NAME[event.type], json.loads(event.payload))
    return [event.type for event in found]


def check(event_type: EventType, body: dict[str, Any]) -> None:
    schema = event_type.document()["schema"]
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(body)
    _undocumented(event_type.name, event_type.schema, body["data"]["object"])


def _undocumented(place: str, schema: Any, value: Any) -> None:
    """Fail for a member that the schema says nothing of; free-form objects (no properties) hold what they like."""
    if isinstance(value, dict) and "properties" in schema:
        assert set(value) <= set(schema["properties"]), place
        for name, member in value.items():
            _undocumented(f"{place}.{name}", schema["properties"][name], member)
    if isinstance(value, list):
        for each in value:
            _undocumented(place, schema["items"], each)


@pytest.mark.parametrize("event_type", CATALOGUE, ids=lambda event_type: event_type.name)
def test_an_example_looks_like_what_is_sent(event_type: EventType) -> None:
    check(event_type, event_type.document()["example"])
    assert set(event_type.example) == set(event_type.schema["properties"]), "an example shows every member"
    for name in event_type.schema["required"]:
        short = {key: value for key, value in event_type.example.items() if key != name}
        assert not Draft202012Validator(event_type.schema).is_valid(short)


def test_a_payment_that_is_paid(tenant: Tenant, paid: Callable[[], Payment]) -> None:
    paid()
    assert sent(tenant) == ["payment.completed"]


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
def test_payments_that_end_without_money(tenant: Tenant, ask: Callable[..., Payment], state: str) -> None:  # noqa: F811
    apply_report(ask().pk, report(state, failure=Failure.of("wrong_pin", provider_code="2001") if state == "failed" else None))
    assert sent(tenant) == ["payment.failed"]


def test_another_amount_than_was_asked_for(tenant: Tenant, ask: Callable[..., Payment]) -> None:  # noqa: F811
    apply_report(ask().pk, report(amount=149_900))
    assert sent(tenant) == ["payment.conflicted"]


def test_a_payment_that_nobody_can_tell_of(tenant: Tenant, ask: Callable[..., Payment]) -> None:  # noqa: F811
    needs_review(Payment.objects.select_for_update().get(pk=ask().pk), reason="no answer for a day")
    assert sent(tenant) == ["payment.needs_review"]


def test_a_hold_that_is_captured_after_its_warning(tenant: Tenant, held: Callable[[], Payment], clock: MovableClock) -> None:
    payment = held()
    ExpiryWarningJob().run(QueueItem(payload={"payment": payment.pk}))
    clock.advance(1)
    operation = new_operation(payment, OperationKind.CAPTURE, 150_000)
    operation.save(force_insert=True)
    fact = CaptureFact("ch_1", Money(150_000, "KES"), RefundState.SUCCEEDED, operation_id=operation.pk)
    apply_report(payment.pk, report("succeeded", amount=150_000, provider_ref="pi_1", captures=(fact,)))

    assert set(sent(tenant)) == {
        "payment.authorized", "payment.authorization_expiring", "payment.captured", "payment.completed",
    }  # fmt: skip
    body = json.loads(Event.unscoped.get(type="payment.captured").payload)["data"]["object"]
    assert (body["capture"], body["capture_id"], body["amount_captured"]) == ("manual", operation.pk, 150_000)
    assert [each["id"] for each in body["captures"]] == [operation.pk]


def test_a_refund_that_comes_back_days_later(tenant: Tenant, paid: Callable[[], Payment], clock: MovableClock) -> None:
    payment = paid()
    given = RefundFact("re_1", Money(50_000, "KES"), RefundState.SUCCEEDED, reason="lesson cancelled")
    apply_report(payment.pk, report(amount=150_000, refunds=(given,)))
    refund = Operation.objects.get(kind=OperationKind.REFUND)
    clock.advance(days=3)
    bounced = RefundResult(RefundState.FAILED, "re_1", failure=Failure.of("refund_failed_later"))
    apply_refund(refund.pk, bounced, actor="gateway", reason="sent back")

    assert sent(tenant) == ["payment.completed", "payment.refunded", "payment.refund_failed"]
    bodies = [json.loads(event.payload)["data"]["object"] for event in Event.unscoped.order_by("created", "pk")[1:]]
    assert [(body["refund"], body["amount_refunded"]) for body in bodies] == [(refund.pk, 50_000), (refund.pk, 0)]


def test_a_dispute_from_its_first_word_to_its_last(tenant: Tenant, paid: Callable[[], Payment], clock: MovableClock) -> None:
    payment = paid()
    opened = DisputeFact(
        "du_1", Money(150_000, "KES"), DisputeState.NEEDS_RESPONSE, reason="fraudulent", withdrawn=True,
        respond_by=hub_clock.now() + timedelta(days=7),
    )  # fmt: skip
    apply_report(payment.pk, report(amount=150_000, disputes=(opened,)))
    clock.advance(days=2)
    won = DisputeFact("du_1", Money(150_000, "KES"), DisputeState.WON)
    apply_report(payment.pk, report(amount=150_000, disputes=(won,)))
    assert sent(tenant) == ["payment.completed", "payment.dispute_opened", "payment.dispute_closed"]


def test_money_that_finds_its_place(tenant: Tenant, in_scope: None) -> None:  # noqa: F811
    payment = make_payment(tenant, origin="customer", allocated=False, account_number="W17", receipt="UGA3K7P2QX")
    allocate_payment(tenant=tenant, payment_id=payment.pk, reference_type="wallet", reference_id="W-17", actor="cashier")
    assert sent(tenant) == ["payment.allocated"]


def test_payers_that_are_stored_or_not(tenant: Tenant, cards: Config, in_scope: None) -> None:  # noqa: F811
    card = StoredMethod(token="pm_1", customer_ref="cus_1", brand="Visa", last4="4242", expires="12/2030")
    results = (
        SetupResult(PaymentState.SUCCEEDED, provider_ref="seti_1", stored=card),
        SetupResult(PaymentState.FAILED, provider_ref="seti_1", failure=Failure.of("declined")),
    )
    for result in results:
        setup = make_setup(cards)
        now = hub_clock.now()
        Operation(
            id=f"op_{setup.pk[5:]}", tenant=tenant, setup=setup, config=cards, provider=setup.provider, kind="setup", amount=0,
            idempotency_key=setup.pk, hook_token=setup.pk, created=now, updated=now,
        ).save(force_insert=True)  # fmt: skip
        apply_setup(setup.pk, result)
    assert sorted(sent(tenant)) == ["payer.setup_failed", "payer.stored"]


@pytest.mark.parametrize("state", [MessageState.DELIVERED, MessageState.FAILED])
def test_messages(tenant: Tenant, clock: MovableClock, state: MessageState) -> None:
    make_config(tenant, "africastalking")
    message = make_message(tenant, reference=("payment", "pay_1"))
    with scope(tenant=tenant):
        recipient = Recipient.objects.get(message=message)
        advance(recipient, MessageState.SENT, at=clock(), source="provider")
        advance(recipient, state, at=clock(), source="report", detail="opted out", provider_status="UserInBlacklist")
    assert sent(tenant) == [f"message.{state.value}"]
