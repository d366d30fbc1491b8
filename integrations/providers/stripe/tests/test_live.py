"""Against Stripe's own test mode: `STRIPE_TEST_SECRET_KEY=sk_test_... pytest -m live`. Moves no money, leaves test payments."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime

import pytest

from integrations.contracts.errors import OutcomeUnknown
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentState, RefundState
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.stripe.adapter import StripePayments
from integrations.providers.stripe.provider import PROVIDER
from integrations.providers.stripe.tests import support

SECRET = os.environ.get("STRIPE_TEST_SECRET_KEY", "")
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not SECRET.startswith(("sk_test_", "rk_test_")), reason="STRIPE_TEST_SECRET_KEY holds no test key"),
]
USD_20 = Money(2_000, "USD")


@pytest.fixture
def stripe() -> StripePayments:
    config = support.view(secret_key=SECRET, webhook_secret="")
    mask = Mask(keys=PROVIDER.masked_keys, secrets=[SECRET])
    http = HttpClient(
        provider="stripe", base_url=config.base_url, mask=mask, recorder=SilentRecorder(), timeout=PROVIDER.timeout
    )  # fmt: skip
    return StripePayments(config=config, http=http, tokens=support.NoTokens(), clock=lambda: datetime.now(UTC))


def unique(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(13)}"


def test_the_key_is_of_test_mode(stripe: StripePayments) -> None:
    assert stripe.test_connection().ok is True


def test_hold_capture_refund(stripe: StripePayments) -> None:
    asked = datetime.now(UTC)
    request = support.payment(payment_id=unique("pay"), idempotency_key=unique("op"), money=USD_20, capture=False)
    held = stripe.authorize(request)
    assert (held.state, held.capturable) == (PaymentState.AUTHORIZED, USD_20)
    assert held.expires_at is not None
    assert stripe.authorize(request).provider_ref == held.provider_ref, "the key is honoured"
    changed = support.payment(payment_id=request.payment_id, idempotency_key=request.idempotency_key, money=Money(1_900, "USD"))
    with pytest.raises(OutcomeUnknown):
        stripe.authorize(changed)
    taken = stripe.capture(
        support.capture(
            held.provider_ref, operation_id=unique("op"), idempotency_key=unique("op"), payment_id=request.payment_id,
            money=Money(1_500, "USD"), capturable=USD_20, captured=Money(0, "USD"),
        )
    )  # fmt: skip
    assert (taken.state, taken.money) == (RefundState.SUCCEEDED, Money(1_500, "USD"))
    ours = unique("re")
    back = stripe.refund(support.refund(held.provider_ref, refund_id=ours, idempotency_key=ours, money=Money(400, "USD")))
    assert back.state in (RefundState.SUCCEEDED, RefundState.PROCESSING)
    found = stripe.payment_status(support.query("", payment_id=request.payment_id, money=USD_20, asked_at=asked))
    assert (found.state, found.provider_ref) == (PaymentState.SUCCEEDED, held.provider_ref)
    assert found.refunds is not None
    assert [(each.operation_id, each.money) for each in found.refunds] == [(ours, Money(400, "USD"))], "no release among them"


def test_decline(stripe: StripePayments) -> None:
    request = support.payment(
        payment_id=unique("pay"), idempotency_key=unique("op"), money=USD_20, token="pm_card_chargeDeclinedInsufficientFunds"
    )
    result = stripe.authorize(request)
    assert result.state is PaymentState.FAILED
    assert result.failure is not None
    assert result.failure.code == "insufficient_funds"
