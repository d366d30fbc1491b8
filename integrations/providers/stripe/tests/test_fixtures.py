"""The vendor's own samples: every one is read by whatever reads such an object here, and held against the SDK."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from integrations.contracts.inbound import MalformedWebhook
from integrations.contracts.money import Money
from integrations.contracts.payment import DisputeState, PaymentState, RefundState
from integrations.contracts.payment_features import MethodType
from integrations.providers.stripe.reading import Reader, stored_method
from integrations.providers.stripe.tests.support import FIXTURES, RecordingHttp, adapter, event, fixture, inbound, origin, setup
from integrations.providers.stripe.webhook import StripeWebhook

RESOURCES = sorted(path.stem for path in FIXTURES.glob("*.json") if path.stem != "signatures")
webhook = StripeWebhook()


def test_all_samples_are_here() -> None:
    assert len(RESOURCES) == 16


@pytest.mark.parametrize("name", RESOURCES)
def test_every_sample_is_a_resource_of_the_sdk(name: str) -> None:
    raw = fixture(name)
    built: Any = stripe.convert_to_stripe_object(raw)  # type: ignore[attr-defined]
    assert built["object"] == raw["object"]
    if name != "event":  # the SDK turns a decimal text of its foreign object into a Decimal
        assert built.to_dict() == raw


@pytest.mark.parametrize("name", RESOURCES)
def test_every_sample_in_an_event_is_understood_or_left_alone(name: str) -> None:
    """Whatever object comes in whatever event: facts, none, or a refusal; never a crash."""
    for kind in ("payment_intent.succeeded", "charge.refunded", "setup_intent.succeeded", "plan.created"):
        try:
            facts = webhook.parse(inbound(event(kind, fixture(name))), origin())
        except MalformedWebhook:
            facts = ()
        assert len(facts) <= 1


def test_the_payment() -> None:
    found = Reader().payment(fixture("payment_intent"), method=MethodType.REDIRECT)
    assert (found.state, found.money, found.capturable) == (PaymentState.REQUIRES_ACTION, Money(1099, "USD"), Money(0, "USD"))
    assert (found.captures, found.refunds, found.disputes, found.fee) == ((), None, None, None)


def test_the_charge_within_a_payment() -> None:
    charge = {**fixture("charge"), "amount_captured": 100, "balance_transaction": fixture("balance_transaction")}
    raw = {**fixture("payment_intent"), "amount": 100, "amount_received": 100, "status": "succeeded", "latest_charge": charge}
    found = Reader().payment(raw, method=MethodType.CARD)
    assert (found.state, found.receipt, found.fee, found.payer) == (
        PaymentState.SUCCEEDED, charge["id"], Money(0, "USD"), "Jenny Rosen",
    )  # fmt: skip
    assert (found.method_name, found.method_detail) == ("card", "Visa •••• 4242")


def test_the_refund_and_the_dispute() -> None:
    refund = Reader().refund(fixture("refund"))
    assert (refund.provider_ref, refund.money, refund.state) == (
        fixture("refund")["id"],
        Money(100, "USD"),
        RefundState.SUCCEEDED,
    )
    dispute = Reader().dispute(fixture("dispute"))
    assert (dispute.state, dispute.withdrawn, dispute.reason) == (DisputeState.INQUIRY, False, "general")
    assert dispute.respond_by == datetime.fromtimestamp(1704844799, UTC)


def test_the_stored_card() -> None:
    found = stored_method(fixture("payment_method"), "cus_1")
    assert (found.brand, found.last4, found.expires, found.payer) == ("visa", "4242", "08/2024", "jenny@example.com")
    assert found.token not in repr(found)


def test_the_setup(http: RecordingHttp) -> None:
    http.answer(fixture("setup_intent"))
    ref = fixture("setup_intent")["id"]
    found = adapter(http).setup_status(setup(provider_ref=ref, token=""))
    assert (found.state, found.provider_ref, found.references) == (
        PaymentState.REQUIRES_ACTION, ref, (("setup_intent", ref),),
    )  # fmt: skip


def test_the_account_and_the_balance(http: RecordingHttp) -> None:
    http.answer(fixture("account"))
    http.answer(fixture("balance"))
    found = adapter(http).test_connection()
    assert (found.ok, found.detail) == (True, f"Account {fixture('account')['id']}: it can't yet take payments.")
