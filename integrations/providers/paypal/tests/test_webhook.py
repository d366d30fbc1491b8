"""What events mean: which payment is to be read again, by which ids it is found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.contracts.inbound import InboundRequest, Locator, MalformedWebhook, Origin, PaymentTouched, Trust
from integrations.providers.paypal.tests.hub import PAYMENT, Hub
from integrations.providers.paypal.tests.support import fixture
from integrations.providers.paypal.webhook import PaypalWebhook

webhook = PaypalWebhook()


def request_of(body: Any) -> InboundRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return InboundRequest("POST", "events", {}, {}, raw)


def parse(body: Any) -> list[Any]:
    return list(webhook.parse(request_of(body), Origin(3, 7, Trust.SIGNED, 11, "payment:pay_7")))


def event(kind: str, **resource: Any) -> dict[str, Any]:
    return {"id": "WH-1-2", "event_type": kind, "resource": resource}


def test_a_documented_capture() -> None:
    (found,) = parse(fixture("event_capture_completed.json"))
    assert found == PaymentTouched(
        provider="paypal",
        tenant_id=3,
        config_id=7,
        trust=Trust.SIGNED,
        receipt_id=11,
        provider_event_type="PAYMENT.CAPTURE.COMPLETED",
        refs=("89T257400V0473133", "29Y24445UY2083144"),
        provider_ref="89T257400V0473133",
        token_object="payment:pay_7",
    )


def test_a_documented_capture_of_an_authorization() -> None:
    (found,) = parse(fixture("event_capture_of_authorization.json"))
    assert (found.refs, found.provider_ref) == (("CAPTURE001", "7W5147081L658180V"), "")
    assert list(webhook.locate(request_of(fixture("event_capture_of_authorization.json")))) == [
        Locator("capture", "CAPTURE001"),
        Locator("authorization", "7W5147081L658180V"),
    ]


def test_a_documented_dispute_leads_to_its_capture() -> None:
    (found,) = parse(fixture("event_dispute_created.json"))
    assert (found.refs, found.provider_ref, found.payment_id) == (("29Y24445UY2083144",), "", "")


def test_a_documented_refund_leads_to_its_capture() -> None:
    (found,) = parse(event("PAYMENT.CAPTURE.REFUNDED", **fixture("refund.json")))
    assert found.refs == ("9BT885563M275774M", "55105082X5896632E")
    assert found.provider_ref == ""


def test_an_old_sale_means_nothing() -> None:
    assert parse(fixture("event_sale_completed.json")) == []


@pytest.mark.parametrize(
    ("body", "payment_id", "order", "refs"),
    [
        (
            event("CHECKOUT.ORDER.APPROVED", id="5O190127TN364715T", purchase_units=[{"custom_id": PAYMENT}]),
            PAYMENT,
            "5O190127TN364715T",
            ("5O190127TN364715T",),
        ),
        (
            event("CHECKOUT.PAYMENT-APPROVAL.REVERSED", order_id="5O190127TN364715T", purchase_units=[{"custom_id": PAYMENT}]),
            PAYMENT,
            "5O190127TN364715T",
            ("5O190127TN364715T",),
        ),
        (
            event("PAYMENT.AUTHORIZATION.VOIDED", id="0VF52814937998046", custom_id=PAYMENT),
            PAYMENT,
            "",
            ("0VF52814937998046",),
        ),
        (
            event("PAYMENT.REFUND.FAILED", id="55105082X5896632E", supplementary_data={"related_ids": {"capture_id": "9BT8"}}),
            "",
            "",
            ("9BT8", "55105082X5896632E"),
        ),
        (event("PAYMENT.CAPTURE.DENIED", id="9BT8", custom_id="not ours"), "", "", ("9BT8",)),
        (event("PAYMENT.CAPTURE.DENIED", custom_id=PAYMENT), PAYMENT, "", ()),
    ],
)
def test_whom_an_event_is_about(body: Any, payment_id: str, order: str, refs: tuple[str, ...]) -> None:
    (found,) = parse(body)
    assert (found.payment_id, found.provider_ref, found.refs) == (payment_id, order, refs)


def test_our_own_id_finds_the_tenant_first() -> None:
    body = event("CHECKOUT.ORDER.APPROVED", id="5O190127TN364715T", purchase_units=[{"custom_id": PAYMENT}])
    assert list(webhook.locate(request_of(body))) == [Locator("payment", PAYMENT), Locator("order", "5O190127TN364715T")]


@pytest.mark.parametrize(
    "body",
    [
        event("BILLING.SUBSCRIPTION.CREATED", id="I-1"),
        event("VAULT.PAYMENT-TOKEN.CREATED", id="8kk8451t"),
        event("PAYMENT.SALE.COMPLETED", id="4EU7004268015634R"),
        event("PAYMENT.CAPTURE.COMPLETED", id="has spaces"),
        event("CUSTOMER.DISPUTE.CREATED", dispute_id="PP-D-1"),
        event("PAYMENT.CAPTURE.COMPLETED"),
    ],
)
def test_events_that_name_no_payment(body: Any) -> None:
    assert parse(body) == []
    assert list(webhook.locate(request_of(body))) == []


def test_one_case_over_two_payments() -> None:
    transactions = [{"seller_transaction_id": "AAA1", "custom": PAYMENT}, {"seller_transaction_id": "BBB2"}]
    assert [
        (each.payment_id, each.refs) for each in parse(event("CUSTOMER.DISPUTE.CREATED", disputed_transactions=transactions))
    ] == [
        (PAYMENT, ("AAA1",)),
        ("", ("BBB2",)),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        {"id": "WH-1"},
        {"id": "WH-1", "event_type": "X"},
        {"id": "WH 1", "event_type": "X", "resource": {}},
        {"id": "WH-1", "event_type": "x y", "resource": {}},
        {"id": "WH-1", "event_type": "X", "resource": []},
        {"id": "x" * 101, "event_type": "X", "resource": {}},
        event("PAYMENT.CAPTURE.COMPLETED", links="none"),
        event("PAYMENT.CAPTURE.COMPLETED", custom_id={"a": 1}),
        event("CHECKOUT.ORDER.APPROVED", purchase_units={"a": 1}),
    ],
)
def test_what_is_no_event(body: Any) -> None:
    with pytest.raises(MalformedWebhook):
        parse(body)
    with pytest.raises(MalformedWebhook):
        webhook.locate(request_of(body))


def test_the_acknowledgement() -> None:
    found = webhook.ack(request_of(b""))
    assert (found.status, found.body) == (200, b'{"received": true}')


@pytest.mark.parametrize(
    "kind",
    [
        "CHECKOUT.ORDER.APPROVED",
        "CHECKOUT.ORDER.COMPLETED",
        "PAYMENT.CAPTURE.COMPLETED",
        "PAYMENT.CAPTURE.REFUNDED",
        "CUSTOMER.DISPUTE.CREATED",
    ],
)
def test_simulated_events_name_payment_and_order(school: Hub, kind: str) -> None:
    school.point()
    paid = school.paid()
    school.dashboard(PAYMENT, "refund")
    school.dashboard(PAYMENT, "dispute")
    found: Any = school.event(kind)
    assert found.payment_id == PAYMENT
    assert {paid.provider_ref, paid.receipt} & set(found.refs)
