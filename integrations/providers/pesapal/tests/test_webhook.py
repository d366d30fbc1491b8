"""IPNs: every form in which they come, whom they are about, what is answered."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from integrations.contracts.inbound import InboundRequest, Locator, MalformedWebhook, PaymentTouched, Trust
from integrations.providers.pesapal.tests.support import (
    FIXTURES,
    PAYMENT,
    REFERENCE,
    TRACKING,
    config,
    inbound,
    origin,
    webhook,
)

MEMBERS = {"OrderNotificationType": "IPNCHANGE", "OrderTrackingId": TRACKING, "OrderMerchantReference": REFERENCE}
CAMEL = {name[0].lower() + name[1:]: value for name, value in MEMBERS.items()}
FORM = "application/x-www-form-urlencoded"
EVERY_FORM = [
    inbound(MEMBERS),
    inbound(CAMEL),
    inbound({"order_notification_type": "IPNCHANGE", "order_tracking_id": TRACKING, "order_merchant_reference": REFERENCE}),
    inbound({**MEMBERS, "Extra": {"deep": 1}}),
    inbound(json.dumps(MEMBERS).encode(), content_type="text/plain"),
    inbound(urlencode(MEMBERS).encode(), content_type=FORM),
    inbound(urlencode(CAMEL).encode(), content_type=FORM),
    inbound(method="GET", **MEMBERS),
    inbound(method="POST", **MEMBERS),
]


def event(request: InboundRequest, **given: Any) -> Any:
    (found,) = webhook.parse(request, origin(**given))
    return found


@pytest.mark.parametrize("request_", EVERY_FORM, ids=range(len(EVERY_FORM)))
def test_every_form_says_the_same(request_: InboundRequest) -> None:
    assert event(request_) == PaymentTouched(
        provider="pesapal",
        tenant_id=3,
        config_id=7,
        trust=Trust.TOKEN,
        receipt_id=11,
        provider_event_type="IPNCHANGE",
        refs=(TRACKING, REFERENCE),
        provider_ref=TRACKING,
        payment_id=PAYMENT,
    )
    assert webhook.locate(request_) == (
        Locator("payment", PAYMENT),
        Locator("merchant_reference", REFERENCE),
        Locator("order_tracking", TRACKING),
    )


def test_the_documented_bodies_are_read_and_answered_as_documented() -> None:
    posted = inbound((FIXTURES / "ipn_post.json").read_bytes())
    got = dict(part.split("=") for part in (FIXTURES / "ipn_get.txt").read_text().strip().split("&"))
    for request in (posted, inbound(method="GET", **got)):
        found = event(request)
        assert (found.refs, found.payment_id) == ((TRACKING, "HUB-000123"), "")
        assert [each.kind for each in webhook.locate(request)] == ["merchant_reference", "order_tracking"]
        ack = webhook.ack(request)
        assert (ack.status, ack.content_type) == (200, "application/json")
        assert json.loads(ack.body) == json.loads((FIXTURES / "ipn_ack.json").read_text())


def test_a_later_try_leads_to_the_same_payment() -> None:
    assert event(inbound({**MEMBERS, "OrderMerchantReference": f"{REFERENCE}-2"})).payment_id == PAYMENT


def test_the_object_behind_the_path_is_passed_on() -> None:
    assert event(inbound(MEMBERS), token_object="payment:pay_1").token_object == "payment:pay_1"


@pytest.mark.parametrize(("by_token", "trust"), [(True, Trust.TOKEN), (False, Trust.HINT)])
@pytest.mark.parametrize("view", [None, config()])
def test_nothing_is_signed_so_the_path_decides_the_trust(by_token: bool, trust: Trust, view: Any) -> None:
    found = webhook.verify(inbound(MEMBERS), view, by_token=by_token)
    assert (found.trust, found.provider_event_type) == (trust, "IPNCHANGE")
    assert len(found.dedupe_key) < 150


def test_the_same_bytes_again_may_be_another_change() -> None:
    """The IPN of "failed" and that of "paid" on one order are equal; both must lead to a question."""
    keys = {webhook.verify(inbound(MEMBERS), config(), by_token=True).dedupe_key for _ in range(3)}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("kind", "count"), [("IPNCHANGE", 1), ("ipnchange", 1), ("CALLBACKURL", 1), ("RECURRING", 0), ("NEW", 0)]
)
def test_only_what_touches_a_payment_is_an_event(kind: str, count: int) -> None:
    request = inbound({**MEMBERS, "OrderNotificationType": kind})
    assert len(webhook.parse(request, origin())) == count
    assert json.loads(webhook.ack(request).body)["status"] == 200


@pytest.mark.parametrize("left_out", ["OrderTrackingId", "OrderMerchantReference", "OrderNotificationType"])
def test_one_of_the_ids_is_enough(left_out: str) -> None:
    request = inbound({name: value for name, value in MEMBERS.items() if name != left_out})
    assert event(request).refs == tuple(MEMBERS[n] for n in ("OrderTrackingId", "OrderMerchantReference") if n != left_out)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"not json",
        b"\xff\xfe",
        {"OrderNotificationType": "IPNCHANGE"},
        {**MEMBERS, "OrderTrackingId": "x'; DROP"},
        {**MEMBERS, "OrderTrackingId": "a" * 65},
        {**MEMBERS, "OrderMerchantReference": "a\x00b"},
        {**MEMBERS, "OrderMerchantReference": "a" * 51},
        {**MEMBERS, "OrderNotificationType": "<script>"},
        {"OrderTrackingId": 7, "OrderMerchantReference": None},
    ],
)
def test_other_bodies_are_malformed(body: Any) -> None:
    request = inbound(body)
    for step in (
        lambda: webhook.locate(request),
        lambda: webhook.verify(request, config(), by_token=True),
        lambda: webhook.parse(request, origin()),
    ):
        with pytest.raises(MalformedWebhook):
            step()


def test_the_paths() -> None:
    assert webhook.purposes == {"ipn"}
    assert [(each.path, each.purpose, each.methods) for each in webhook.fixed_paths] == [
        ("/webhooks/pesapal", "ipn", ("GET", "POST"))
    ]
