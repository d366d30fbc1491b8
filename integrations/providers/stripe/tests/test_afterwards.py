"""Against the simulator: what comes after the payment. Refunds, disputes, the dashboard, webhooks, stored cards, the books."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import requests

from integrations.contracts.errors import InvalidRequest, Undecided
from integrations.contracts.inbound import PaymentTouched, SetupTouched
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    DisputeState,
    PaymentState,
    RefundState,
    TransactionKind,
    TransactionsQuery,
)
from integrations.contracts.payment_features import MethodType
from integrations.providers.stripe.endpoints import WANTED
from integrations.providers.stripe.tests.hub import START, Hub
from integrations.providers.stripe.tests.support import PAGE, PAYMENT, payment, query, refund, setup
from tests.simulators.support import wait_for

# --- refunds


def test_partial_refunds_until_nothing_is_left(school: Hub) -> None:
    paid, adapter = school.paid(), school.adapter()
    first = adapter.refund(refund(paid.provider_ref, 100_000, reason="out of stock"))
    assert (first.state, first.money) == (RefundState.SUCCEEDED, Money(100_000, "KES"))
    too_much = adapter.refund(refund(paid.provider_ref, 60_000, refund_id="re_2", idempotency_key="re_2"))
    assert too_much.state is RefundState.FAILED
    assert too_much.failure is not None
    assert too_much.failure.code == "refund_declined"
    assert (
        adapter.refund(refund(paid.provider_ref, 50_000, refund_id="re_3", idempotency_key="re_3")).state
        is RefundState.SUCCEEDED
    )
    empty = adapter.refund(refund(paid.provider_ref, 1, refund_id="re_4", idempotency_key="re_4"))
    assert empty.failure is not None
    assert (empty.state, empty.failure.code) == (RefundState.FAILED, "already_refunded")
    now = school.status(paid.provider_ref)
    assert now.state is PaymentState.SUCCEEDED
    assert now.refunds is not None
    facts = {each.operation_id: (each.money, each.reason) for each in now.refunds}
    assert facts == {"re_ours1": (Money(100_000, "KES"), "out of stock"), "re_3": (Money(50_000, "KES"), "")}
    assert school.money()[0]["refunded"] == 150_000


def test_a_lost_refund_is_made_once_and_recognised(school: Hub) -> None:
    paid, adapter = school.paid(), school.adapter()
    ask = refund(paid.provider_ref)
    assert adapter.refund_status(ask).state is RefundState.UNKNOWN
    school.fault("refund", "drop_after_accept")
    with pytest.raises(Undecided):
        adapter.refund(ask)
    found = adapter.refund_status(ask)
    assert (found.state, found.money) == (RefundState.SUCCEEDED, Money(150_000, "KES"))
    assert adapter.refund_status(replace(ask, provider_ref=found.provider_ref)) == found
    assert adapter.refund(ask) == found
    assert adapter.refund(replace(ask, idempotency_key="as if after 24 hours")) == found
    assert school.money()[0]["refunded"] == 150_000


def test_a_refund_after_a_partial_capture(school: Hub) -> None:
    held = school.held()
    school.dashboard(held.provider_ref, "capture", amount=100_000)
    school.adapter().refund(refund(held.provider_ref, 50_000))
    now = school.status(held.provider_ref)
    assert now.refunds is not None
    assert [(each.operation_id, each.money) for each in now.refunds] == [("re_ours1", Money(50_000, "KES"))]
    # The dashboard's refund of just what the released rest was: told apart by its balance transaction.
    school.dashboard(held.provider_ref, "refund", amount=50_000)
    now = school.status(held.provider_ref)
    assert now.refunds is not None
    assert sorted(each.operation_id for each in now.refunds) == ["", "re_ours1"]
    assert school.money()[0]["refunded"] == 100_000


def test_a_refund_that_the_bank_sends_back_days_later(school: Hub) -> None:
    paid = school.paid(token="pm_card_refundFail")
    done = school.adapter().refund(refund(paid.provider_ref))
    assert done.state is RefundState.SUCCEEDED
    (told,) = school.received("charge.refund.updated")
    (fact,) = school.facts(told)
    assert isinstance(fact, PaymentTouched)
    assert (fact.provider_ref, fact.payment_id) == (paid.provider_ref, PAYMENT)
    assert done.provider_ref in fact.refs
    now = school.status(paid.provider_ref)
    assert now.refunds is not None
    (fact_now,) = now.refunds
    assert fact_now.state is RefundState.FAILED
    assert fact_now.failure is not None
    assert (fact_now.failure.code, fact_now.failure.provider_code) == ("refund_failed_later", "expired_or_canceled_card")
    assert school.money()[0]["refunded"] == 0


def test_a_pending_refund_is_settled(school: Hub) -> None:
    paid = school.paid(token="pm_card_pendingRefund")
    assert school.adapter().refund(refund(paid.provider_ref)).state is RefundState.PROCESSING
    school.dashboard(PAYMENT, "settle_refund")
    assert school.adapter().refund_status(refund(paid.provider_ref)).state is RefundState.SUCCEEDED
    school.control("POST", "/dashboard", {"ref": PAYMENT, "action": "settle_refund"}, status=400)


# --- disputes


def test_a_dispute_from_its_opening_to_its_end(school: Hub) -> None:
    paid = school.paid()
    school.dashboard(PAYMENT, "dispute", amount=100_000)
    (told,) = school.received("charge.dispute.created")
    (fact,) = school.facts(told)
    assert isinstance(fact, PaymentTouched)
    assert fact.provider_ref == paid.provider_ref
    now = school.status(paid.provider_ref)
    assert now.disputes is not None
    (dispute,) = now.disputes
    assert (dispute.state, dispute.withdrawn, dispute.money) == (DisputeState.NEEDS_RESPONSE, True, Money(100_000, "KES"))
    assert dispute.respond_by is not None
    assert (dispute.reason, dispute.respond_by - datetime.fromtimestamp(START, UTC)) == ("fraudulent", timedelta(days=7))
    refused = school.adapter().refund(refund(paid.provider_ref))
    assert refused.failure is not None
    assert (refused.state, refused.failure.code) == (RefundState.FAILED, "disputed")
    assert school.money()[0]["disputed"] == 100_000
    school.dashboard(PAYMENT, "dispute_won")
    now = school.status(paid.provider_ref)
    assert now.disputes is not None
    assert [(each.state, each.withdrawn) for each in now.disputes] == [(DisputeState.WON, False)]
    assert (school.money()[0]["disputed"], school.money()[0]["refunded"]) == (0, 0)
    school.control("POST", "/dashboard", {"ref": PAYMENT, "action": "dispute_lost"}, status=400)


@pytest.mark.parametrize(
    ("card", "state", "withdrawn"),
    [
        ("pm_card_createDispute", DisputeState.NEEDS_RESPONSE, True),
        ("pm_card_createDisputeInquiry", DisputeState.INQUIRY, False),
    ],
)
def test_the_test_cards_for_disputes(school: Hub, card: str, state: DisputeState, withdrawn: bool) -> None:
    paid = school.paid(token=card)
    school.received("charge.dispute.created")
    now = school.status(paid.provider_ref)
    assert now.disputes is not None
    assert [(each.state, each.withdrawn) for each in now.disputes] == [(state, withdrawn)]
    school.dashboard(PAYMENT, "dispute_lost")
    now = school.status(paid.provider_ref)
    assert now.disputes is not None
    ended = DisputeState.LOST if withdrawn else DisputeState.CLOSED
    assert [(each.state, each.withdrawn) for each in now.disputes] == [(ended, withdrawn)]


# --- webhooks


def test_every_event_is_signed_and_names_the_payment(school: Hub) -> None:
    paid = school.paid()
    (told,) = school.received("payment_intent.succeeded")
    (fact,) = school.facts(told)
    assert isinstance(fact, PaymentTouched)
    assert (fact.provider_ref, fact.payment_id, fact.refs) == (paid.provider_ref, PAYMENT, (paid.provider_ref, paid.receipt))
    assert told.json()["api_version"] == "2023-10-16"
    assert told.json()["request"]["idempotency_key"] == "op_0123456789abcdefghijklmnop"


def test_an_undelivered_event_comes_again_signed_anew(school: Hub) -> None:
    school.hooks.answer = (500, b"")
    school.paid()
    first, second = school.received("payment_intent.succeeded", 2)[:2]
    assert first.json()["id"] == second.json()["id"]
    assert first.headers["stripe-signature"] != second.headers["stripe-signature"]
    school.hooks.answer = (200, b"{}")
    school.clock.advance(60)
    count = len(school.received("payment_intent.succeeded", 3))
    school.clock.advance(600)
    assert len(school.received("payment_intent.succeeded", count)) == count


@pytest.mark.parametrize(("fault", "copies"), [("lose_callback", 0), ("duplicate_callback", 2)])
def test_callback_faults(school: Hub, fault: str, copies: int) -> None:
    school.fault("payment_intent.succeeded", fault)
    school.paid()
    school.received("charge.succeeded")
    if copies:
        assert len({each.json()["id"] for each in school.received("payment_intent.succeeded", copies)}) == 1
    school.clock.advance(60)

    def states() -> list[str]:
        sent = [each for each in school.control("GET", "/callbacks") if each["name"] == "payment_intent.succeeded"]
        return [each["state"] for each in sent if each["state"] != "lost"]

    # A copy has arrived here a moment before the simulator has read our answer and books it as done.
    wait_for(lambda: "begun" not in states())
    assert states() == ["done"] * copies


def test_an_early_event_is_there_before_the_answer(school: Hub) -> None:
    school.fault("payment_intent.succeeded", "early_callback")
    school.paid()
    early = [each.json()["type"] for each in school.hooks.at("/school")]
    assert early == ["payment_intent.succeeded"]


def test_a_wrong_amount_in_the_event(school: Hub) -> None:
    school.fault("payment_intent.succeeded", "wrong_amount")
    school.paid()
    (told,) = school.received("payment_intent.succeeded")
    assert told.json()["data"]["object"]["amount"] == 149_999


# --- registering


def test_registering_looks_first_and_keeps_its_secret(school: Hub) -> None:
    url = f"{school.hooks.url}/hooks/token/events"
    made = school.adapter(webhook_secret="").register_webhooks({"events": url})
    endpoint, secret = made.values["webhook_endpoint_id"], made.secrets["webhook_secret"]
    assert endpoint.startswith("we_")
    assert secret.startswith("whsec_")
    assert secret not in made.detail
    logged = "".join(each.response_body for each in school.recorder.exchanges)
    assert secret not in logged
    known = {"webhook_endpoint_id": endpoint, "webhook_secret": secret}
    again = school.adapter(**known).register_webhooks({"events": url})
    assert (again.values, again.secrets) == ({"webhook_endpoint_id": endpoint}, {})
    moved = school.adapter(**known).register_webhooks({"events": f"{school.hooks.url}/elsewhere"})
    assert (moved.values, moved.secrets) == ({"webhook_endpoint_id": endpoint}, {})
    school.paid()

    def sent() -> list[str]:
        return [each.json()["type"] for each in school.hooks.at("/elsewhere")]

    school.received("payment_intent.succeeded")
    assert set(sent()) <= set(WANTED)
    assert school.hooks.at("/hooks/token") == []
    renewed = school.adapter(webhook_endpoint_id=endpoint, webhook_secret="").register_webhooks({"events": url})
    assert renewed.values["webhook_endpoint_id"] != endpoint
    assert renewed.secrets["webhook_secret"] != secret
    headers = {"Authorization": f"Bearer {school.account.secrets['secret_key']}"}
    listed = requests.get(f"{school.running.url}/stripe/v1/webhook_endpoints", headers=headers, timeout=5).json()
    assert [each["id"] for each in listed["data"]] == [renewed.values["webhook_endpoint_id"]]
    assert listed["data"][0]["api_version"] == "2023-10-16"


def test_a_platforms_endpoint_hears_its_connected_accounts(school: Hub) -> None:
    annex = school.running.simulator("stripe").people[2].id  # type: ignore[attr-defined]
    adapter = school.adapter(connected_account=annex)
    adapter.register_webhooks({"events": f"{school.hooks.url}/connect"})
    adapter.authorize(payment())
    school.paid(idempotency_key="own")
    school.received("payment_intent.succeeded")
    found = [each.json() for each in school.hooks.at("/connect")]
    assert [(each["type"], each["account"]) for each in found if each["type"] == "payment_intent.succeeded"] == [
        ("payment_intent.succeeded", annex)
    ]


# --- stored cards


def test_a_card_is_stored_charged_and_forgotten(school: Hub) -> None:
    adapter = school.adapter()
    done = adapter.setup(setup())
    assert done.state is PaymentState.SUCCEEDED
    assert done.stored is not None
    assert (done.stored.brand, done.stored.last4, done.stored.expires) == ("visa", "4242", "08/2031")
    assert (done.stored.customer_ref, done.customer_ref) == (done.customer_ref, done.stored.customer_ref)
    (told,) = school.received("setup_intent.succeeded")
    (fact,) = school.facts(told)
    assert fact == SetupTouched(
        provider="stripe", tenant_id=3, config_id=7, trust=fact.trust, receipt_id=1,
        provider_event_type="setup_intent.succeeded", provider_ref=done.provider_ref, setup_id="seti_ours1",
    )  # fmt: skip
    stored = {"token": done.stored.token, "customer_ref": done.customer_ref, "off_session": True, "return_url": ""}
    assert school.paid(**stored).state is PaymentState.SUCCEEDED
    assert school.paid(**stored, idempotency_key="op_2").state is PaymentState.SUCCEEDED
    adapter.forget(done.stored)
    adapter.forget(done.stored)
    gone = school.paid(**stored, idempotency_key="op_3")
    assert (gone.state, gone.failure and gone.failure.code) == (PaymentState.FAILED, "payment_method_unusable")
    assert len(school.money()) == 2


def test_setup_finds_what_got_lost(school: Hub) -> None:
    adapter = school.adapter()
    assert adapter.setup_status(setup()).state is PaymentState.ABSENT
    school.fault("setup", "drop_after_accept")
    with pytest.raises(Undecided):
        adapter.setup(setup())
    found = adapter.setup_status(setup())
    assert found.state is PaymentState.SUCCEEDED
    assert adapter.setup(setup()).provider_ref == found.provider_ref
    assert len(school.control("GET", "/state")["customer"]) == 1


def test_setup_by_the_page_and_with_authentication(school: Hub) -> None:
    adapter = school.adapter()
    opened = adapter.setup(setup(token="", method=MethodType.REDIRECT))
    assert (opened.state, opened.next_action) == (PaymentState.REQUIRES_ACTION, {"type": "redirect", "url": PAGE})
    page = adapter.payer_page(query(opened.provider_ref))
    assert page.context["stripe"]["kind"] == "setup"
    school.payer(opened.provider_ref, "approve")
    ask = setup(token="", method=MethodType.REDIRECT, provider_ref=opened.provider_ref)
    assert adapter.setup_status(ask).state is PaymentState.SUCCEEDED
    strict = adapter.setup(setup(token="pm_card_authenticationRequiredOnSetup", idempotency_key="s2"))
    assert strict.state is PaymentState.REQUIRES_ACTION
    assert strict.next_action is not None
    assert strict.next_action["url"].endswith(f"/authenticate/{strict.provider_ref}")
    school.payer(strict.provider_ref, "approve")
    stored = adapter.setup_status(setup(provider_ref=strict.provider_ref)).stored
    assert stored is not None
    silent = school.paid(token=stored.token, customer_ref=stored.customer_ref, off_session=True)
    assert silent.state is PaymentState.SUCCEEDED


def test_a_setup_is_declined(school: Hub) -> None:
    declined = school.adapter().setup(setup(token="pm_card_chargeDeclined"))
    assert declined.state is PaymentState.FAILED
    assert declined.failure is not None
    assert declined.failure.code == "declined"
    assert school.adapter().setup_status(setup(provider_ref=declined.provider_ref)).failure == declined.failure


def test_off_session_the_bank_may_want_the_payer(school: Hub) -> None:
    opened = school.adapter().setup(setup(token="pm_card_authenticationRequired"))
    school.payer(opened.provider_ref, "approve")
    stored = school.adapter().setup_status(setup(provider_ref=opened.provider_ref)).stored
    assert stored is not None
    result = school.paid(token=stored.token, customer_ref=stored.customer_ref, off_session=True)
    assert result.state is PaymentState.FAILED
    assert result.failure is not None
    assert (result.failure.code, result.failure.decision) == ("authentication_required", "ask_payer")
    with pytest.raises(InvalidRequest):
        school.adapter().check(payment(off_session=True), school.view())


# --- the books, the connection


def test_the_books(school: Hub) -> None:
    paid, adapter = school.paid(), school.adapter()
    adapter.refund(refund(paid.provider_ref, 100_000))
    school.dashboard(PAYMENT, "dispute", amount=50_000)
    since = datetime.fromtimestamp(START - 60, UTC)
    page = adapter.transactions(TransactionsQuery(since, since + timedelta(hours=1)))
    assert page.cursor == ""
    rows = [(each.kind, each.money.minor_units, each.payment_id, paid.provider_ref in each.refs) for each in page.transactions]
    assert rows == [
        (TransactionKind.DISPUTE, 50_000, "", True),
        (TransactionKind.REFUND, 100_000, PAYMENT, True),
        (TransactionKind.CHARGE, 150_000, PAYMENT, True),
    ]
    charge = page.transactions[2]
    assert (charge.fee, charge.net) == (Money(4_380, "KES"), Money(145_620, "KES"))
    assert page.transactions[0].fee == Money(1_500, "KES")
    assert adapter.transactions(TransactionsQuery(since - timedelta(days=1), since)).transactions == ()


def test_the_books_by_pages(school: Hub) -> None:
    for number in range(101):
        school.paid(idempotency_key=f"op_{number}", payment_id=f"pay_{number}")
    since, adapter = datetime.fromtimestamp(START - 60, UTC), school.adapter()
    asked = TransactionsQuery(since, since + timedelta(hours=1))
    first = adapter.transactions(asked)
    second = adapter.transactions(replace(asked, cursor=first.cursor))
    assert (len(first.transactions), len(second.transactions), second.cursor) == (100, 1, "")
    assert second.transactions[0].payment_id == "pay_0"


def test_the_connection(school: Hub, studio: Hub) -> None:
    found = school.adapter().test_connection()
    assert (found.ok, found.status) == (True, "ok")
    assert studio.adapter().test_connection().detail != found.detail
    school.control("PUT", "/accounts/school", {"charges_enabled": False})
    assert "can't yet" in school.adapter().test_connection().detail
    assert school.paid().state is PaymentState.FAILED


def test_the_dashboards_void_and_expiry(school: Hub) -> None:
    first = school.held()
    second = school.held(idempotency_key="op_2", payment_id="pay_2")
    school.dashboard(first.provider_ref, "void")
    school.dashboard("pay_2", "expire")
    assert school.status(first.provider_ref).state is PaymentState.CANCELLED
    assert school.status(second.provider_ref).state is PaymentState.EXPIRED
    school.control("POST", "/dashboard", {"ref": "pay_2", "action": "expire"}, status=400)
    school.control("POST", "/dashboard", {"ref": "pay_unknown", "action": "void"}, status=404)
    assert [row["held"] for row in school.money()] == [0, 0]
