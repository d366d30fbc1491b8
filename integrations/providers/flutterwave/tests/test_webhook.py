"""Webhooks: what proves the sender, what the bodies say, what is the same fact."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from integrations.contracts.inbound import BadSignature, Locator, MalformedWebhook, PaymentTouched, Trust
from integrations.providers.flutterwave.tests.support import PAYMENT, SECRETS, config, fixture, inbound, origin
from integrations.providers.flutterwave.webhook import FlutterwaveWebhook

webhook = FlutterwaveWebhook()
HASH = SECRETS["secret_hash"]
VECTOR_SECRET = "8c1f7d0e2b6a4935"
VECTOR_BODY = (
    b'{"event":"charge.completed","data":{"id":4193428,"tx_ref":"HUB-000123","amount":10,"currency":"KES",'
    b'"status":"successful"}}'
)
VECTOR = "0lyKuxpyKv73m1M2nGUvGmwgut+I3/L/H7rtm7usPLI="


def charge(**changed: Any) -> dict[str, Any]:
    body: dict[str, Any] = fixture("webhook_charge")
    body["data"] |= {"tx_ref": PAYMENT, **changed}
    return body


def key(body: Any, **headers: str) -> str:
    return webhook.verify(inbound(body, **(headers or {"verif_hash": HASH})), config(), by_token=True).dedupe_key


def test_the_plain_hash_is_no_more_than_an_unguessable_path() -> None:
    for by_token in (True, False):
        found = webhook.verify(inbound(charge(), verif_hash=HASH), config(), by_token=by_token)
        assert (found.trust, found.provider_event_type) == (Trust.TOKEN, "charge.completed")


def test_the_published_digest_of_the_raw_body_is_a_signature() -> None:
    signed = inbound(VECTOR_BODY, **{"Flutterwave-Signature": VECTOR})
    assert webhook.verify(signed, config(secret_hash=VECTOR_SECRET), by_token=False).trust is Trust.SIGNED


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"verif_hash": ""},
        {"verif_hash": HASH + "x"},
        {"verif_hash": HASH[:-1]},
        {"verif_hash": "\u00e9"},
        {"flutterwave_signature": HASH},
        {"flutterwave_signature": hmac.new(HASH.encode(), json.dumps(charge()).encode(), hashlib.sha256).hexdigest()},
        {"verif_hash": VECTOR},
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        webhook.verify(inbound(charge(), **headers), config(), by_token=True)


def test_a_digest_of_another_body_is_refused() -> None:
    for body in (VECTOR_BODY + b" ", VECTOR_BODY.replace(b"10", b"11")):
        with pytest.raises(BadSignature):
            webhook.verify(inbound(body, flutterwave_signature=VECTOR), config(secret_hash=VECTOR_SECRET), by_token=True)


@pytest.mark.parametrize("empty", [None, ""])
def test_without_a_configured_hash_everything_is_refused(empty: str | None) -> None:
    digest = base64.b64encode(hmac.new(b"", VECTOR_BODY, hashlib.sha256).digest()).decode()
    for headers in (
        {"verif_hash": ""},
        {"verif_hash": "None"},
        {"flutterwave_signature": digest},
        {"flutterwave_signature": ""},
    ):
        with pytest.raises(BadSignature):
            webhook.verify(inbound(VECTOR_BODY, **headers), config(secret_hash=empty, plain_signature=True), by_token=True)


def test_an_unknown_tenant_can_not_be_verified() -> None:
    with pytest.raises(BadSignature):
        webhook.verify(inbound(charge(), verif_hash=HASH), None, by_token=False)


def test_the_bare_secret_as_signature_needs_the_config_to_say_so() -> None:
    request = inbound(charge(), flutterwave_signature=HASH)
    assert webhook.verify(request, config(plain_signature=True), by_token=True).trust is Trust.TOKEN
    with pytest.raises(BadSignature):
        webhook.verify(request, config(plain_signature=False), by_token=True)


def test_the_key_tells_facts_apart_and_repetitions_together() -> None:
    first = key(charge())
    assert key(charge()) == first
    assert len({first, key(charge(status="failed")), key(charge(id=4193429)), key(charge(amount=1499))}) == 4
    signature = base64.b64encode(hmac.new(HASH.encode(), json.dumps(charge()).encode(), hashlib.sha256).digest()).decode()
    assert key(charge(), flutterwave_signature=signature) != first


def test_a_charge_names_the_payment_and_the_transaction() -> None:
    request = inbound(charge(), verif_hash=HASH)
    assert webhook.locate(request) == [Locator("payment", PAYMENT), Locator("transaction", "4193428")]
    (event,) = webhook.parse(request, origin("config:7"))
    assert event == PaymentTouched(
        provider="flutterwave",
        tenant_id=3,
        config_id=7,
        trust=Trust.TOKEN,
        receipt_id=11,
        provider_event_type="charge.completed",
        refs=(PAYMENT, "4193428"),
        provider_ref=PAYMENT,
        payment_id=PAYMENT,
        token_object="config:7",
    )


def test_a_later_attempts_reference_is_the_same_payment() -> None:
    request = inbound(charge(tx_ref=f"{PAYMENT}-2"))
    assert webhook.locate(request)[0] == Locator("payment", PAYMENT)
    (event,) = webhook.parse(request, origin())
    assert isinstance(event, PaymentTouched)
    assert (event.payment_id, event.provider_ref) == (PAYMENT, f"{PAYMENT}-2")


def test_a_failed_charge_is_told_by_the_same_event() -> None:
    (event,) = webhook.parse(inbound(charge(status="failed")), origin())
    assert isinstance(event, PaymentTouched)
    assert event.payment_id == PAYMENT


def test_a_refund_is_found_by_its_transaction() -> None:
    request = inbound(fixture("webhook_refund"), verif_hash=HASH)
    assert webhook.locate(request) == [Locator("transaction", "4193428")]
    (event,) = webhook.parse(request, origin())
    assert isinstance(event, PaymentTouched)
    assert (event.refs, event.payment_id, event.provider_event_type) == (("4193428",), "", "refund.completed")


@pytest.mark.parametrize(
    "body",
    [
        fixture("webhook_charge"),  # a sale of the same account that is not ours
        fixture("webhook_v2"),
        {"event": "transfer.completed", "data": {"id": 1, "reference": "x", "status": "SUCCESSFUL"}},
        {"event": "subscription.cancelled", "data": {"id": 1}},
    ],
)
def test_what_is_not_ours_or_not_known_is_taken_and_says_nothing(body: Any) -> None:
    request = inbound(body, verif_hash=HASH)
    assert webhook.verify(request, config(), by_token=True).trust is Trust.TOKEN
    assert webhook.parse(request, origin()) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"event":"charge.completed"}',
        b'{"event":"charge.completed","data":[]}',
        b'{"event":"charge.completed","data":{"id":1}}',
        b'{"event":"charge.completed","data":{"id":"x","tx_ref":"y"}}',
        b'{"event":{},"data":{}}',
    ],
)
def test_a_body_of_another_shape_is_malformed(body: bytes) -> None:
    for call in (
        lambda: webhook.verify(inbound(body, verif_hash=HASH), config(), by_token=True),
        lambda: webhook.locate(inbound(body)),
        lambda: webhook.parse(inbound(body), origin()),
    ):
        with pytest.raises(MalformedWebhook):
            call()


def test_a_refund_without_a_transaction_is_malformed() -> None:
    with pytest.raises(MalformedWebhook):
        webhook.parse(inbound({"event": "refund.completed", "data": {"id": 1}}), origin())


def test_the_acknowledgement_is_exactly_200() -> None:
    assert webhook.ack(inbound(charge())).status == 200
    assert webhook.ack(inbound(fixture("webhook_v2"))).status == 200


def test_paths() -> None:
    assert [(each.path, each.purpose, each.methods) for each in webhook.fixed_paths] == [
        ("/webhooks/flutterwave", "events", ("POST",))
    ]
    assert set(webhook.config_purposes) == webhook.purposes == {"events"}
