"""A peer that others wrote: localstripe (adrienverge/localstripe 1.15.10), in a process of its own on loopback.

It knows far less than Stripe (provider sheet, section 14); what both know must fit: a hold, its capture, a refund, a decline,
a signed webhook.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import InboundRequest, PaymentTouched
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentState, RefundState
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.stripe.adapter import StripePayments
from integrations.providers.stripe.tests import support
from integrations.providers.stripe.webhook import StripeWebhook
from tests.simulators.support import Receiver, wait_for

pytest.importorskip("localstripe")
RUNNER = Path(__file__).with_name("localstripe_server.py")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("localstripe")
    port_file = folder / "port"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, str(RUNNER), str(port_file)], env=environment, stdout=log, stderr=log)
        try:
            wait_for(lambda: port_file.exists() or process.poll() is not None, deadline=30)
            assert process.poll() is None, (folder / "log").read_text()
            yield f"http://127.0.0.1:{port_file.read_text()}"
        finally:
            process.terminate()
            process.wait(10)
        assert not (folder / "localstripe.pickle").exists()


def config(url: str) -> ConfigView:
    return support.view(base_url=url)


def adapter(url: str) -> StripePayments:
    http = HttpClient(
        # A slug of its own: the vendor's description, which this peer does not keep to, is not held against it.
        provider="localstripe",
        base_url=url,
        mask=Mask(secrets=[support.SECRET_KEY]),
        recorder=SilentRecorder(),
        timeout=(2.0, 10.0),
    )
    return StripePayments(config=config(url), http=http, tokens=support.NoTokens(), clock=lambda: support.NOW)


def test_a_hold_its_capture_and_a_refund(url: str) -> None:
    stripe = adapter(url)
    held = stripe.authorize(support.payment(capture=False))
    assert (held.state, held.money) == (PaymentState.AUTHORIZED, Money(150_000, "KES"))
    taken = stripe.capture(support.capture(held.provider_ref, 100_000))
    assert (taken.state, taken.money) == (RefundState.SUCCEEDED, Money(100_000, "KES"))
    back = stripe.refund(support.refund(held.provider_ref, 40_000))
    assert (back.state, back.money) == (RefundState.SUCCEEDED, Money(40_000, "KES"))
    assert stripe.refund_status(support.refund(held.provider_ref)).provider_ref == back.provider_ref
    now = stripe.payment_status(support.query(held.provider_ref))
    assert now.state is PaymentState.SUCCEEDED
    assert now.captures is not None
    assert [(each.operation_id, each.money.minor_units) for each in now.captures] == [("op_capture1", 100_000)]
    assert now.refunds is not None
    assert {each.operation_id: each.money.minor_units for each in now.refunds}["re_ours1"] == 40_000


def test_a_void(url: str) -> None:
    stripe = adapter(url)
    held = stripe.authorize(support.payment(capture=False))
    assert stripe.void(support.void(held.provider_ref)).state is PaymentState.CANCELLED


def test_a_decline(url: str) -> None:
    # The only one of its aliases that it declines at a charge.
    result = adapter(url).authorize(support.payment(token="pm_card_chargeCustomerFail"))
    assert result.state is PaymentState.FAILED
    assert result.failure is not None
    assert result.failure.provider_code == "card_declined"


def test_its_signed_webhook_is_believed(url: str) -> None:
    with Receiver() as hooks:
        wanted = {"url": hooks.url, "secret": support.WEBHOOK_SECRET, "events": ["payment_intent.succeeded"]}
        assert requests.post(f"{url}/_config/webhooks/hub", json=wanted, timeout=5).status_code == 200
        paid = adapter(url).authorize(support.payment())
        assert paid.state is PaymentState.SUCCEEDED
        # Events of the tests before are still on their way.
        told = wait_for(
            lambda: next((each for each in hooks.received if each.json()["data"]["object"]["id"] == paid.provider_ref), None)
        )
    request = InboundRequest("POST", "events", {}, told.headers, told.body, "127.0.0.1")
    webhook = StripeWebhook(now=time.time)
    verified = webhook.verify(request, config(url), by_token=True)
    assert verified.provider_event_type == "payment_intent.succeeded"
    (fact,) = webhook.parse(request, support.origin())
    assert isinstance(fact, PaymentTouched)
    assert (fact.provider_ref, fact.payment_id) == (paid.provider_ref, support.PAYMENT)
