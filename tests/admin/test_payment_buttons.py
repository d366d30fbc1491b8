"""Taking, releasing, giving back and asking by hand; disputes; a tenant's routing rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django_scopes import scopes_disabled

from integrations.contracts import clock
from integrations.contracts.errors import ProviderUnavailable
from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureRequest,
    CaptureResult,
    PaymentQuery,
    PaymentResult,
    PaymentState,
    RefundRequest,
    RefundResult,
    RefundState,
    VoidRequest,
)
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.models import Config, Tenant
from payments.gateway import gateway_class
from payments.models import LedgerEntry, Operation, Payment, RoutingRule, RoutingStep
from tests import factories
from tests.admin.conftest import World, list_url, page_url
from tests.admin.rows import make_dispute, make_payment
from tests.admin.test_buttons import press

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]
MOVES_MONEY = pytest.mark.django_db(transaction=True)


class Gateway:
    """Answers in an adapter's place, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.refusal: Failure | None = None
        self.status: PaymentResult | Exception = PaymentResult(PaymentState.PROCESSING)

    @property
    def state(self) -> RefundState:
        return RefundState.FAILED if self.refusal else RefundState.SUCCEEDED

    def capture(self, adapter: PaymentAdapter, request: CaptureRequest) -> CaptureResult:
        self.asked.append(request)
        return CaptureResult(self.state, f"cap-{len(self.asked)}", failure=self.refusal)

    def refund(self, adapter: PaymentAdapter, request: RefundRequest) -> RefundResult:
        self.asked.append(request)
        return RefundResult(self.state, f"ref-{len(self.asked)}", failure=self.refusal)

    def void(self, adapter: PaymentAdapter, request: VoidRequest) -> PaymentResult:
        self.asked.append(request)
        return PaymentResult(PaymentState.CANCELLED, request.payment_provider_ref)

    def payment_status(self, adapter: PaymentAdapter, query: PaymentQuery) -> PaymentResult:
        self.asked.append(query)
        if isinstance(self.status, Exception):
            raise self.status
        return self.status


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """A gateway that holds money, captures several times, releases and refunds."""
    fake, adapter = Gateway(), gateway_class("mpesa")
    more = {"capture", "partial_capture", "multiple_capture", "void", "cancel"}
    monkeypatch.setattr(adapter, "features", replace(adapter.features, operations=adapter.features.operations | more))
    monkeypatch.setattr(adapter, "check_refund", classmethod(lambda cls, request, config: None))
    for name in ("capture", "refund", "void", "payment_status"):
        answer = getattr(fake, name)
        monkeypatch.setattr(adapter, name, lambda self, request, answer=answer: answer(self, request))
    return fake


def held(tenant: Tenant, **fields: Any) -> Payment:
    """Return a payment of which KES 1,500.00 are held."""
    values = {
        "config": Config.unscoped.filter(tenant=tenant, provider_id="mpesa").first() or factories.make_config(tenant, "mpesa"),
        "status": "authorized",
        "capture": "manual",
        "amount_captured": 0,
        "provider_ref": "auth-1",
        "receipt": "",
        "receipt_number": "",
        "completed_at": None,
        **fields,
    }
    return make_payment(tenant, **values)


def paid(tenant: Tenant, **fields: Any) -> Payment:
    return held(tenant, **{"status": "succeeded", "capture": "automatic", "amount_captured": 150_000, **fields})


def offered(client: Client, payment: Payment) -> set[str]:
    return {entry["button"].name for entry in client.get(page_url(payment)).context["hub_buttons"]}


def unchanged(payment: Payment) -> bool:
    """Tell whether the payment is as it was made: one operation, one line in the ledger, its status and totals."""
    now = Payment.unscoped.get(pk=payment.pk)
    totals = ("status", "amount_authorized", "amount_captured", "amount_voided", "amount_refunded")
    same = all(getattr(now, name) == getattr(payment, name) for name in totals)
    rows = (Operation.unscoped.filter(payment=payment).count(), LedgerEntry.unscoped.filter(payment=payment).count())
    return same and rows == (1, 1)


# --- what is offered ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"sync", "capture", "cancel"}),
        (
            {"status": "partially_captured", "amount_captured": 50_000},
            {"sync", "capture", "cancel", "refund"},
        ),
        ({"status": "succeeded", "capture": "automatic", "amount_captured": 150_000}, {"sync", "refund"}),
        (
            {"status": "succeeded", "capture": "automatic", "amount_captured": 150_000, "amount_refunded": 150_000},
            {"sync"},
        ),
        ({"status": "requires_action", "amount_authorized": 0}, {"sync", "cancel"}),
        ({"status": "processing", "amount_authorized": 0, "provider_ref": ""}, {"sync"}),
        ({"status": "failed", "amount_authorized": 0, "provider_ref": ""}, set()),
        ({"status": "needs_review", "amount_authorized": 0}, {"sync", "decide"}),
    ],
)
def test_status_says_what_is_offered(
    fields: dict[str, Any], expected: set[str], tenant: Tenant, gateway: Gateway, browser_of: Browser
) -> None:
    assert offered(browser_of("admin"), held(tenant, **fields)) == expected


def test_matrix_says_what_is_offered(tenant: Tenant, browser_of: Browser) -> None:
    """This gateway neither holds nor calls off, whatever the payment's status is."""
    client = browser_of("admin")
    assert offered(client, held(tenant)) == {"sync"}
    assert offered(client, held(tenant, status="requires_action", amount_authorized=0)) == {"sync"}
    assert offered(client, held(tenant, config=None, provider="gone", status="requires_action", amount_authorized=0)) == set()


def test_request_that_was_not_sent_can_be_called_off_at_any_gateway(tenant: Tenant, browser_of: Browser) -> None:
    payment = held(tenant, status="processing", amount_authorized=0, provider_ref="")
    factories.make_item(tenant, kind="payment.authorize", reference_id=payment.pk, due_at=clock.now() + timedelta(hours=1))
    assert offered(browser_of("admin"), payment) == {"sync", "cancel"}


# --- capture --------------------------------------------------------------------------------------------------------------


@MOVES_MONEY
def test_capture_of_a_part_then_of_the_rest(tenant: Tenant, gateway: Gateway, browser_of: Browser) -> None:
    payment, client = held(tenant), browser_of("admin")
    told = press(client, payment, "capture", {"amount": "50000"})
    assert told == [("success", "The capture of KES 500.00 is done; the payment is partially captured.")]
    told = press(client, payment, "capture", {"amount": ""})
    assert told[1:] == [("success", "The capture of KES 1,000.00 is done; the payment is succeeded.")]
    assert [(each.money, each.final) for each in gateway.asked] == [
        (Money(50_000, "KES"), False),
        (Money(100_000, "KES"), True),
    ]
    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured, payment.amount_capturable) == ("succeeded", 150_000, 0)
    asked_for = LedgerEntry.unscoped.filter(payment=payment, reason="capture asked for")
    assert set(asked_for.values_list("actor", flat=True)) == {"user school-admin"}


@MOVES_MONEY
def test_capture_that_releases_the_rest(tenant: Tenant, gateway: Gateway, browser_of: Browser) -> None:
    payment = held(tenant)
    press(browser_of("admin"), payment, "capture", {"amount": "50000", "final": "on"})
    assert [each.final for each in gateway.asked] == [True]
    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured, payment.amount_voided) == ("succeeded", 50_000, 100_000)


@MOVES_MONEY
def test_refusal_by_the_gateway_is_told(tenant: Tenant, gateway: Gateway, browser_of: Browser) -> None:
    gateway.refusal = Failure.of("invalid_state")
    payment = held(tenant)
    [(level, text)] = press(browser_of("admin"), payment, "capture", {})
    assert (level, text.startswith("The capture of KES 1,500.00 failed (")) == ("error", True)
    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured) == ("authorized", 0)


def test_more_than_is_held_is_said_at_the_field(tenant: Tenant, gateway: Gateway, browser_of: Browser) -> None:
    payment = held(tenant)
    answer = browser_of("admin").post(page_url(payment, "press", "capture"), {"amount": "150100"})
    assert answer.context["form"].errors == {"amount": ["At most KES 1,500.00 can be captured."]}
    assert gateway.asked == []
    assert unchanged(payment)


# --- refund ---------------------------------------------------------------------------------------------------------------


@MOVES_MONEY
def test_refund_of_a_part(tenant: Tenant, gateway: Gateway, browser_of: Browser) -> None:
    payment = paid(tenant)
    told = press(browser_of("admin"), payment, "refund", {"amount": "40000", "reason": "paid twice"})
    assert told == [("success", "The refund of KES 400.00 is done; the payment is succeeded.")]
    [request] = gateway.asked
    assert (request.money, request.reason, request.requested_by) == (Money(40_000, "KES"), "paid twice", "user school-admin")
    payment.refresh_from_db()
    assert payment.amount_refunded == 40_000


@pytest.mark.parametrize(
    ("amount", "errors"),
    [("150100", ["At most KES 1,500.00 can be refunded."]), ("0", ["Ensure this value is greater than or equal to 1."])],
)
def test_refund_that_can_not_be_is_said_at_the_field(
    amount: str, errors: list[str], tenant: Tenant, gateway: Gateway, browser_of: Browser
) -> None:
    payment = paid(tenant)
    answer = browser_of("admin").post(page_url(payment, "press", "refund"), {"amount": amount})
    assert answer.context["form"].errors == {"amount": errors}
    assert gateway.asked == []
    assert unchanged(payment)


# --- cancel ---------------------------------------------------------------------------------------------------------------


@MOVES_MONEY
def test_cancel_releases_what_is_held(tenant: Tenant, gateway: Gateway, browser_of: Browser) -> None:
    payment = held(tenant)
    told = press(browser_of("admin"), payment, "cancel")
    assert told == [("success", "The cancellation of KES 1,500.00 is done; the payment is cancelled.")]
    assert [each.held for each in gateway.asked] == [True]
    payment.refresh_from_db()
    assert (payment.status, payment.amount_voided, payment.amount_captured) == ("cancelled", 150_000, 0)


def test_service_s_refusal_is_shown(tenant: Tenant, gateway: Gateway, browser_of: Browser) -> None:
    payment = held(tenant)
    Operation.unscoped.filter(payment=payment).update(kind="capture", status="pending")
    told = press(browser_of("admin"), payment, "cancel")
    assert told == [("error", "A capture or release of this payment is under way.")]
    assert gateway.asked == []
    assert unchanged(payment)


# --- ask ------------------------------------------------------------------------------------------------------------------


@MOVES_MONEY
@pytest.mark.parametrize("make", [held, paid])
def test_held_and_decided_payments_are_asked_about(
    make: Callable[..., Payment], tenant: Tenant, gateway: Gateway, browser_of: Browser
) -> None:
    payment = make(tenant)
    client = browser_of("admin")
    gateway.status = ProviderUnavailable("no connection")
    assert press(client, payment, "sync") == [("error", "no connection")]
    gateway.status = PaymentResult(PaymentState.PROCESSING, "auth-1")
    _first, (level, text) = press(client, payment, "sync")
    assert (level, text) == ("success", f"The provider was asked: the payment is {payment.status}.")
    assert [each.payment_id for each in gateway.asked] == [payment.pk, payment.pk]
    assert unchanged(payment)


# --- who may --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["staff", "auditor"])
def test_only_admins_press(role: str, tenant: Tenant, gateway: Gateway, browser_of: Browser) -> None:
    client, hold, payment = browser_of(role), held(tenant), paid(tenant, provider_ref="paid-1")
    for row, button in ((hold, "capture"), (hold, "cancel"), (hold, "sync"), (payment, "refund")):
        assert client.post(page_url(row, "press", button), {"amount": "100"}).status_code == 403
    assert offered(client, hold) == set()
    assert gateway.asked == []
    assert unchanged(hold)
    assert unchanged(payment)


# --- what is shown --------------------------------------------------------------------------------------------------------


def test_page_shows_holds_fees_and_disputes(tenant: Tenant, browser_of: Browser) -> None:
    payment = paid(
        tenant,
        amount_captured=90_000,
        amount_voided=60_000,
        amount_disputed=20_000,
        fee_amount=2_345,
        fee_currency="KES",
        method_name="card",
        method_detail="Visa •••• 4242",
    )
    make_dispute(payment, amount=20_000, provider_ref="dispute-at-gateway", reason="fraudulent")
    Operation.unscoped.filter(payment=payment).update(origin="gateway", provider="mpesa")
    content = browser_of("staff").get(page_url(payment)).content.decode()
    texts = (
        "KES 600.00",
        "KES 200.00",
        "KES 23.45",
        "Visa •••• 4242",
        "dispute-at-gateway",
        "Needs response",
        "Seen at the gateway",
    )
    assert [text for text in texts if text not in content] == []


def test_disputes_can_only_be_read(world: World, browser_of: Browser) -> None:
    dispute, client = world.ours["payments.dispute"], browser_of("admin")
    page = client.get(page_url(dispute))
    assert page_url(dispute.payment) in page.content.decode()
    assert b'name="_save"' not in page.content
    assert client.post(page_url(dispute), {"status": "won"}).status_code == 403
    assert client.get(list_url("payments.dispute") + "add/").status_code == 403


# --- rules ----------------------------------------------------------------------------------------------------------------


def rule_data(*configs: Config, **fields: Any) -> dict[str, Any]:
    steps = {
        f"steps-{n}-{key}": value for n, each in enumerate(configs) for key, value in (("config", each.pk), ("position", n))
    }
    management = {"steps-TOTAL_FORMS": len(configs), "steps-INITIAL_FORMS": 0}
    return {"name": "Cards", "is_active": "on", "position": 5, **steps, **management, **fields}


def test_admin_adds_a_rule_with_its_gateways(world: World, browser_of: Browser) -> None:
    first, second = (factories.make_config(world.school, "mpesa", label=label) for label in ("one", "two"))
    answer = browser_of("admin").post(list_url("payments.routingrule") + "add/", rule_data(second, first))
    assert answer.status_code == 302, answer.context["errors"]
    rule = RoutingRule.unscoped.get(name="Cards")
    steps = RoutingStep.unscoped.filter(rule=rule)
    assert rule.tenant == world.school
    assert list(steps.values_list("config_id", "tenant_id")) == [(second.pk, world.school.pk), (first.pk, world.school.pk)]


@pytest.mark.parametrize("role", ["admin", "operator"])
def test_rule_can_not_name_another_tenant_s_account(role: str, world: World, browser_of: Browser) -> None:
    foreign = factories.make_config(world.studio, "mpesa", account="studio")
    answer = browser_of(role).post(list_url("payments.routingrule") + "add/", rule_data(foreign, tenant=world.school.pk))
    assert answer.status_code == 200
    [formset] = [each.formset for each in answer.context["inline_admin_formsets"]]
    assert list(formset.errors[0]) == ["config"]
    assert not RoutingRule.unscoped.filter(name="Cards").exists()


def test_rule_offers_the_tenant_s_payment_accounts_only(world: World, browser_of: Browser) -> None:
    mine = factories.make_config(world.school, "mpesa")
    factories.make_config(world.studio, "mpesa", account="studio")
    for role in ("admin", "operator"):
        page = browser_of(role).get(page_url(world.ours["payments.routingrule"]))
        [formset] = [each.formset for each in page.context["inline_admin_formsets"]]
        with scopes_disabled():
            assert list(formset.empty_form.fields["config"].queryset) == [mine]


def test_auditor_can_not_change_steps(world: World, browser_of: Browser) -> None:
    rule = world.ours["payments.routingrule"]
    mine = factories.make_config(world.school, "mpesa")
    assert browser_of("auditor").post(page_url(rule), rule_data(mine)).status_code == 403
    assert RoutingStep.unscoped.filter(rule=rule).count() == 1


def test_broken_pattern_is_said_at_the_field(world: World, browser_of: Browser) -> None:
    given = {"pattern": "INV-(", "reference_type": "invoice", "position": 1}
    answer = browser_of("admin").post(list_url("payments.allocationrule") + "add/", given)
    assert list(answer.context["adminform"].form.errors) == ["pattern"]


def test_a_buttons_form_is_on_its_page_once(browser_of: Browser, world: World) -> None:
    payment = make_payment(world.school, factories.make_config(world.school, "stripe", account="school"), provider="stripe")
    page = browser_of("admin").get(page_url(payment, "press", "refund")).content.decode()
    assert (page.count('name="amount"'), page.count('name="reason"'), page.count('form="')) == (1, 1, 0)
