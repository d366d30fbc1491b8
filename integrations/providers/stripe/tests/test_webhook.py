"""Signatures (published vectors, the official library's), shapes, and what events mean."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from stripe import WebhookSignature

from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import (
    BadSignature,
    InboundRequest,
    Locator,
    MalformedWebhook,
    PaymentTouched,
    SetupTouched,
    Trust,
)
from integrations.providers.stripe.endpoints import WANTED
from integrations.providers.stripe.simulator.events import signature
from integrations.providers.stripe.tests.support import NOW, WEBHOOK_SECRET, event, fixture, inbound, origin, view
from integrations.providers.stripe.webhook import PAYMENT_EVENTS, SETUP_EVENTS, StripeWebhook

VECTORS = fixture("signatures")
AT = NOW.timestamp()
webhook = StripeWebhook(now=lambda: AT)
PI = {**fixture("payment_intent"), "metadata": {"payment_id": "pay_1"}, "latest_charge": "ch_1"}
CHARGE = {**fixture("charge"), "payment_intent": "pi_1", "id": "ch_1", "metadata": {"payment_id": "pay_1"}}
REFUND = {**fixture("refund"), "payment_intent": "pi_1", "charge": "ch_1", "id": "re_1"}
DISPUTE = {**fixture("dispute"), "payment_intent": "pi_1", "charge": {"id": "ch_1"}, "id": "dp_1"}


@pytest.mark.parametrize("vector", VECTORS["digests"])
def test_the_published_digests(vector: dict[str, str]) -> None:
    found = hmac.new(vector["key"].encode(), vector["payload"].encode(), hashlib.sha256).hexdigest()
    assert found == vector["hex"]


def test_the_whole_header_fits_library_simulator_and_hub() -> None:
    given = VECTORS["header"]
    header = f"t={given['timestamp']},v1={given['v1']}"
    assert WebhookSignature.verify_header(given["body"], header, given["secret"]) is True
    assert signature(given["body"], given["secret"], given["timestamp"]).startswith(header)
    request = InboundRequest("POST", "events", {}, {"stripe-signature": header}, given["body"].encode())
    # This body is no whole event: past the signature, the shape is what is wrong with it.
    with pytest.raises(MalformedWebhook):
        StripeWebhook(now=lambda: given["timestamp"]).verify(request, view(), by_token=True)
    with pytest.raises(BadSignature):
        webhook.verify(request, view(), by_token=True)


def test_a_signed_event_is_taken() -> None:
    found = webhook.verify(inbound(event("payment_intent.succeeded", PI)), view(), by_token=False)
    assert (found.trust, found.dedupe_key, found.provider_event_type) == (Trust.SIGNED, "evt_1", "payment_intent.succeeded")


def test_two_signatures_during_rotation() -> None:
    body = event("payment_intent.succeeded", PI)
    stamp = int(AT)
    good = WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, timestamp=stamp).partition(",")[2]
    request = inbound(body, header=f"t={stamp},v1={'0' * 64},{good},v0=abc")
    assert webhook.verify(request, view(), by_token=True).trust is Trust.SIGNED


BODY = event("payment_intent.succeeded", PI)
GOOD = WebhookSignature.generate_signature_header(BODY, WEBHOOK_SECRET, timestamp=int(AT))
OLD = WebhookSignature.generate_signature_header(BODY, WEBHOOK_SECRET, timestamp=int(AT) - 301)


@pytest.mark.parametrize(
    "header",
    [
        "", "t=,v1=", "v1=00", "t=abc,v1=00", "nonsense", f"t={int(AT)}", f"t={int(AT)},v1={'0' * 64}",
        GOOD.replace("v1=", "v0="), GOOD.replace(f"t={int(AT)}", f"t={int(AT) + 1}"), OLD,
        f" t={int(AT)},{OLD}", f"{OLD},t={int(AT)}", "t=" + "9" * 5000 + ",v1=00", "t=1,v1=ä",
        WebhookSignature.generate_signature_header(BODY, WEBHOOK_SECRET, timestamp=int(AT) + 301),
        WebhookSignature.generate_signature_header(BODY, "whsec_another", timestamp=int(AT)),
    ],
)  # fmt: skip
def test_everything_else_is_refused(header: str) -> None:
    with pytest.raises(BadSignature):
        webhook.verify(inbound(BODY, header=header), view(), by_token=True)


def test_a_changed_body_a_missing_config_an_empty_secret() -> None:
    request = inbound(BODY)
    changed = InboundRequest("POST", "events", {}, request.headers, request.body.replace(b"1099", b"1098"))
    binary = InboundRequest("POST", "events", {}, request.headers, b"\xff" + request.body)
    for each, config in ((changed, view()), (binary, view()), (request, None), (request, view(webhook_secret=""))):
        with pytest.raises(BadSignature):
            webhook.verify(each, config, by_token=False)
    nobody = inbound(BODY, header=GOOD.partition(",")[0] + ",v1=" + hmac.new(b"", BODY.encode(), "sha256").hexdigest())
    with pytest.raises(BadSignature):
        webhook.verify(nobody, view(webhook_secret=""), by_token=True)


def test_the_other_mode_is_refused() -> None:
    live = event("payment_intent.succeeded", PI, livemode=True)
    with pytest.raises(BadSignature):
        webhook.verify(inbound(live), view(), by_token=True)
    with pytest.raises(BadSignature):
        webhook.verify(inbound(BODY), view(Environment.PRODUCTION), by_token=True)
    assert webhook.verify(inbound(live), view(Environment.PRODUCTION), by_token=True).dedupe_key == "evt_1"


@pytest.mark.parametrize(
    "body",
    [
        "", "[]", "null", "{}", '{"object":"event"}', event("x", "text"), event("", PI), event("x", PI, id=""),
        event("x", PI, livemode="false"), event("x", PI, object="v2.core.event"), event("x", PI, id={}), "[" * 100_000,
    ],
)  # fmt: skip
def test_malformed_bodies(body: str) -> None:
    request = inbound(body)
    for act in (lambda: webhook.verify(request, view(), by_token=True), lambda: webhook.parse(request, origin())):
        with pytest.raises(MalformedWebhook):
            act()


@pytest.mark.parametrize(
    ("kind", "thing", "refs", "payment_id"),
    [
        ("payment_intent.succeeded", PI, (PI["id"], "ch_1"), "pay_1"),
        ("charge.refunded", CHARGE, ("pi_1", "ch_1"), "pay_1"),
        ("charge.expired", CHARGE, ("pi_1", "ch_1"), "pay_1"),
        ("charge.refund.updated", REFUND, ("pi_1", "ch_1", "re_1"), ""),
        ("refund.failed", REFUND, ("pi_1", "ch_1", "re_1"), ""),
        ("charge.dispute.created", DISPUTE, ("pi_1", "ch_1", "dp_1"), ""),
    ],
)
def test_payments_are_touched(kind: str, thing: Any, refs: tuple[str, ...], payment_id: str) -> None:
    (fact,) = webhook.parse(inbound(event(kind, thing)), origin())
    assert fact == PaymentTouched(
        **origin().fields("stripe", kind), refs=refs, provider_ref=refs[0], payment_id=payment_id
    )  # fmt: skip


def test_a_charge_without_an_intent_names_itself_only() -> None:
    (fact,) = webhook.parse(inbound(event("charge.refunded", fixture("charge"))), origin())
    assert isinstance(fact, PaymentTouched)
    assert (fact.refs, fact.provider_ref) == ((fixture("charge")["id"],), "")


def test_setups_are_touched() -> None:
    thing = {**fixture("setup_intent"), "metadata": {"setup_id": "seti_ours"}}
    (fact,) = webhook.parse(inbound(event("setup_intent.succeeded", thing)), origin())
    expected = origin().fields("stripe", "setup_intent.succeeded")
    assert fact == SetupTouched(**expected, provider_ref=thing["id"], setup_id="seti_ours")


@pytest.mark.parametrize("kind", ["plan.created", "payment_intent.created", "customer.created", "no.such.event"])
def test_other_events_say_nothing(kind: str) -> None:
    assert webhook.parse(inbound(event(kind, PI)), origin()) == ()
    assert kind not in WANTED


def test_a_payment_event_about_nothing_is_malformed() -> None:
    with pytest.raises(MalformedWebhook):
        webhook.parse(inbound(event("charge.refunded", {"object": "charge"})), origin())


def test_tenants_are_found_by_our_id_stripes_ids_and_the_account() -> None:
    found = webhook.locate(inbound(event("charge.refunded", CHARGE, account="acct_1")))
    assert found == (
        Locator("payment", "pay_1"), Locator("payment_intent", "pi_1"), Locator("charge", "ch_1"),
        Locator("connected_account", "acct_1"),
    )  # fmt: skip
    assert webhook.locate(inbound(event("plan.created", {"object": "plan"}))) == ()


def test_what_is_declared() -> None:
    assert [(each.path, each.purpose) for each in webhook.fixed_paths] == [
        ("/api/webhooks/stripe", "events"), ("/webhooks/stripe", "events"),
    ]  # fmt: skip
    assert set(webhook.config_purposes) == webhook.purposes == {"events"}
    assert set(WANTED) == {*PAYMENT_EVENTS, *SETUP_EVENTS}
    assert json.loads(webhook.ack(inbound(BODY)).body) == {"received": True}
    with pytest.raises(MalformedWebhook):
        webhook.parse(InboundRequest("POST", "other", {}, {}, BODY.encode()), origin())
