"""Against PayPal's own sandbox; run with `-m live` and keys in the environment. Moves no money: nobody approves the order."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.ids import new_token
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentQuery, PaymentState
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.paypal.adapter import PaypalPayments
from integrations.providers.paypal.provider import CONFIG, PROVIDER
from integrations.providers.paypal.tests.hub import MemoryTokens, payment

KEYS = ("PAYPAL_SANDBOX_CLIENT_ID", "PAYPAL_SANDBOX_SECRET")

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not all(os.environ.get(name) for name in KEYS), reason=f"needs {' and '.join(KEYS)}"),
]


@pytest.fixture
def sandbox() -> PaypalPayments:
    plain, secrets = CONFIG.clean({"client_id": os.environ[KEYS[0]], "client_secret": os.environ[KEYS[1]]})
    names = [each.name for each in CONFIG if not each.secret]
    url = PROVIDER.base_urls[Environment.SANDBOX]
    config = ConfigView(1, 1, "paypal", Environment.SANDBOX, url, {**dict.fromkeys(names), **plain}, secrets)
    http = HttpClient(
        provider="paypal",
        base_url=url,
        mask=Mask(keys=PROVIDER.masked_keys, secrets=list(secrets.values())),
        recorder=SilentRecorder(),
        timeout=PROVIDER.timeout,
    )
    return PaypalPayments(config=config, http=http, tokens=MemoryTokens(), clock=lambda: datetime.now(UTC))


def test_token_and_webhooks(sandbox: PaypalPayments) -> None:
    assert sandbox.test_connection().ok


def test_an_order_is_made_once_and_read(sandbox: PaypalPayments) -> None:
    key = new_token()
    request = payment(1_000, idempotency_key=key, payment_id=f"pay_{key[:26]}")
    made = sandbox.authorize(request)
    assert made.state is PaymentState.REQUIRES_ACTION
    assert made.next_action is not None
    assert made.next_action["url"].startswith("https://www.sandbox.paypal.com/")
    assert sandbox.authorize(request).provider_ref == made.provider_ref
    found = sandbox.payment_status(PaymentQuery(request.payment_id, made.provider_ref, Money(1_000, "USD")))
    assert (found.state, found.money) == (PaymentState.REQUIRES_ACTION, Money(1_000, "USD"))
    assert sandbox.complete(payment(1_000, idempotency_key=key, provider_ref=made.provider_ref)).state is (
        PaymentState.REQUIRES_ACTION
    )


def test_an_order_that_never_was(sandbox: PaypalPayments) -> None:
    found = sandbox.payment_status(PaymentQuery("pay_none", "0AAAAAAAAAAAAAAAA", Money(1_000, "USD")))
    assert found.state is PaymentState.EXPIRED
