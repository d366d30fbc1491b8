"""Orders, captures and payers' decisions: the real adapter over real sockets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    ProviderUnavailable,
    RateLimited,
    Undecided,
    UnsupportedOperation,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentQuery, PaymentState, RefundState
from integrations.providers.paypal.tests.hub import PAYMENT, Hub, payment


def test_a_payment_from_page_to_money(school: Hub) -> None:
    started = school.adapter().authorize(payment(12_345))
    order = started.provider_ref
    assert started.state is PaymentState.REQUIRES_ACTION
    assert started.next_action == {"type": "redirect", "url": f"{school.base_url}/checkoutnow?token={order}"}
    assert started.money == Money(12_345, "USD")
    assert started.captures == started.refunds == ()
    assert school.status(order).state is PaymentState.REQUIRES_ACTION

    school.payer(PAYMENT)
    approved = school.status(order)
    assert approved.state is PaymentState.APPROVED
    assert approved.next_action is None
    assert school.money() == [
        {
            "ref": order, "payment_id": PAYMENT, "currency": "USD", "asked": 12_345, "held": 0, "captured": 0, "refunded": 0,
            "disputed": 0,
        }
    ]  # fmt: skip

    paid = school.adapter().complete(payment(12_345, provider_ref=order))
    assert paid.state is PaymentState.SUCCEEDED
    assert paid.captures is not None
    (capture,) = paid.captures
    assert capture.state is RefundState.SUCCEEDED
    assert capture.money == paid.money == Money(12_345, "USD")
    assert capture.fee == paid.fee == Money(480, "USD")
    assert capture.operation_id == "", "the order's own invoice id is no capture's operation"
    assert paid.receipt == capture.provider_ref == capture.receipt
    assert paid.references == (("order", order), ("capture", capture.provider_ref))
    assert (paid.method_name, paid.method_detail) == ("paypal", "PayPal a•••@buyer.example.com")
    assert school.money()[0]["captured"] == 12_345
    assert replace(school.status(order), disputes=None) == paid
    assert school.status(order).disputes == ()


def test_the_order_says_who_and_what(school: Hub) -> None:
    school.adapter(soft_descriptor="SCHOOL FEES").authorize(payment(description="School   fee", capture=False))
    (sent,) = school.asked("authorize")
    assert sent["headers"]["PayPal-Request-Id"] == "op_1-order"
    assert sent["body"] == {
        "intent": "AUTHORIZE",
        "purchase_units": [
            {
                "amount": {"currency_code": "USD", "value": "100.00"},
                "custom_id": PAYMENT,
                "invoice_id": "op_1",
                "description": "School fee",
                "soft_descriptor": "SCHOOL FEES",
            }
        ],
        "payment_source": {
            "paypal": {
                "experience_context": {
                    "return_url": "https://hub.example/payments/return/abc",
                    "cancel_url": "https://hub.example/payments/cancel/abc",
                    "user_action": "PAY_NOW",
                    "shipping_preference": "NO_SHIPPING",
                    "brand_name": "Demo School",
                }
            }
        },
    }


def test_the_same_order_twice_is_one_order(school: Hub) -> None:
    first = school.adapter().authorize(payment())
    school.payer(first.provider_ref)
    again = school.adapter().authorize(payment())
    assert again.provider_ref == first.provider_ref
    assert again.state is PaymentState.APPROVED, "the latest state, not the first answer"
    assert len(school.money()) == 1


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after", "error_500", "refuse"])
def test_creating_an_order_may_be_repeated_whatever_happened(school: Hub, fault: str) -> None:
    school.fault("authorize", fault)
    with pytest.raises(ProviderUnavailable):
        school.adapter().authorize(payment())
    assert school.adapter().authorize(payment()).state is PaymentState.REQUIRES_ACTION
    assert len(school.money()) == 1


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after", "error_500", "refuse"])
@pytest.mark.parametrize("capture", [True, False])
def test_running_an_order_may_be_repeated_and_tells(school: Hub, fault: str, capture: bool) -> None:
    request = school.approved(capture=capture)
    school.fault("complete", fault)
    with pytest.raises(Undecided):
        school.adapter().complete(request)
    found = school.adapter().complete(request)
    assert found.state is (PaymentState.SUCCEEDED if capture else PaymentState.AUTHORIZED)
    (row,) = school.money()
    assert (row["captured"], row["held"]) == ((10_000, 0) if capture else (0, 10_000))


def test_running_it_under_another_key_reads_what_ran(school: Hub) -> None:
    request = school.approved()
    first = school.adapter().complete(request)
    again = school.adapter().complete(replace(request, idempotency_key="op_9"))
    assert again.state is PaymentState.SUCCEEDED
    assert again.receipt == first.receipt
    assert school.money()[0]["captured"] == 10_000


def test_a_payer_who_never_came_and_one_who_was_too_late(school: Hub) -> None:
    never = school.adapter().authorize(payment())
    late = school.approved(payment_id="pay_2", idempotency_key="op_2")
    school.clock.advance(3 * 3600 - 1)
    assert school.status(never.provider_ref).state is PaymentState.REQUIRES_ACTION
    school.clock.advance(1)
    expired = school.status(never.provider_ref)
    assert expired.state is PaymentState.EXPIRED
    assert expired.failure is not None
    assert expired.failure.code == "payment_expired"
    found = school.adapter().complete(late)
    assert found.state is PaymentState.EXPIRED
    assert [row["captured"] for row in school.money()] == [0, 0]


def test_a_lapsed_order_can_not_be_authorized(school: Hub) -> None:
    request = school.approved(capture=False)
    school.dashboard(PAYMENT, "expire")
    assert school.adapter().complete(request).state is PaymentState.EXPIRED
    assert school.money()[0]["held"] == 0


def test_a_payer_who_cancels_may_come_back(school: Hub) -> None:
    started = school.adapter().authorize(payment())
    clicked = school.payer(started.provider_ref, "cancel")
    assert clicked["redirect"] == f"https://hub.example/payments/cancel/abc?token={started.provider_ref}"
    assert school.status(started.provider_ref).state is PaymentState.REQUIRES_ACTION
    assert school.adapter().complete(payment(provider_ref=started.provider_ref)).state is PaymentState.REQUIRES_ACTION
    assert school.money()[0]["captured"] == 0


@pytest.mark.parametrize(("capture", "issue"), [(True, "INSTRUMENT_DECLINED"), (False, "PAYER_ACTION_REQUIRED")])
def test_a_declined_card_sends_the_payer_back_to_the_same_page(school: Hub, capture: bool, issue: str) -> None:
    started = school.adapter().authorize(payment(capture=capture))
    order = started.provider_ref
    school.payer(order, "decline")
    found = school.adapter().complete(payment(provider_ref=order, capture=capture))
    assert found.state is PaymentState.REQUIRES_ACTION
    assert found.next_action == started.next_action
    assert found.failure is not None
    assert found.failure.provider_code == issue
    assert (school.money()[0]["captured"], school.money()[0]["held"]) == (0, 0)
    school.payer(order)
    done = school.adapter().complete(payment(provider_ref=order, capture=capture))
    assert done.state is (PaymentState.SUCCEEDED if capture else PaymentState.AUTHORIZED)


@pytest.mark.parametrize(
    ("minor", "code", "issue"),
    [(10_902, "declined", "TRANSACTION_REFUSED"), (10_908, "payer_account_restricted", "PAYER_ACCOUNT_RESTRICTED")],
)
def test_a_refusal_is_a_failed_payment(school: Hub, minor: int, code: str, issue: str) -> None:
    found = school.paid(minor)
    assert found.state is PaymentState.FAILED
    assert found.provider_ref
    assert found.failure is not None
    assert (found.failure.code, found.failure.provider_code) == (code, issue)
    assert school.money()[0]["captured"] == 0


def test_an_account_that_can_not_pay(school: Hub) -> None:
    started = school.adapter().authorize(payment())
    school.payer(started.provider_ref, "fail")
    found = school.adapter().complete(payment(provider_ref=started.provider_ref))
    assert found.state is PaymentState.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.provider_code) == ("declined", "PAYER_CANNOT_PAY")


@pytest.mark.parametrize(("minor", "end"), [(10_903, PaymentState.SUCCEEDED), (10_904, PaymentState.FAILED)])
def test_a_pending_capture_is_not_paid(school: Hub, minor: int, end: PaymentState) -> None:
    found = school.paid(minor)
    assert found.state is PaymentState.PROCESSING
    assert found.receipt == ""
    assert found.fee is None
    assert school.money()[0]["captured"] == 0
    name = "settle_capture" if end is PaymentState.SUCCEEDED else "fail_capture"
    school.dashboard(PAYMENT, name)
    later = school.status(found.provider_ref)
    assert later.state is end
    assert (later.failure.code if later.failure else "") == ("" if end is PaymentState.SUCCEEDED else "declined")


def test_an_order_that_completes_with_a_declined_capture_failed(school: Hub) -> None:
    found = school.paid(10_909)
    assert found.provider_code == "COMPLETED"
    assert found.state is PaymentState.FAILED
    assert found.captures is not None
    assert [each.state for each in found.captures] == [RefundState.FAILED]
    assert found.failure is not None
    assert (found.failure.code, found.failure.provider_code) == ("declined", "DECLINED")


def test_without_an_id_nothing_can_have_moved(school: Hub, studio: Hub) -> None:
    query = PaymentQuery(PAYMENT, "", Money(10_000, "USD"))
    assert school.adapter().payment_status(query).state is PaymentState.ABSENT
    with pytest.raises(UnsupportedOperation):
        studio.adapter().payment_status(query)
    assert school.asked("status") == []


def test_another_accounts_order_is_not_read(school: Hub, studio: Hub) -> None:
    order = school.paid().provider_ref
    assert studio.status(order).state is PaymentState.EXPIRED
    assert studio.adapter().complete(payment(provider_ref=order)).state is PaymentState.EXPIRED


def test_an_order_that_paypal_forgot_is_still_paid(school: Hub) -> None:
    paid = school.paid()
    school.running.store.execute("DELETE FROM documents WHERE kind = 'order'")
    found = school.status(paid.provider_ref, receipt=paid.receipt)
    assert (found.state, found.receipt) == (PaymentState.SUCCEEDED, paid.receipt)


def test_a_forgotten_order_with_a_hold_is_still_held(school: Hub) -> None:
    held = school.held()
    school.running.store.execute("DELETE FROM documents WHERE kind = 'order'")
    found = school.status(held.provider_ref, hold_ref=held.hold_ref)
    assert (found.state, found.capturable) == (PaymentState.AUTHORIZED, Money(10_000, "USD"))


def test_a_refused_token_is_fetched_anew_and_the_call_keeps_its_id(school: Hub) -> None:
    request = school.approved()
    school.control("POST", "/tokens/revoke")
    assert school.adapter().complete(request).state is PaymentState.SUCCEEDED
    sent = school.asked("complete")
    assert [each["status"] for each in sent] == [401, 201]
    assert {each["headers"]["PayPal-Request-Id"] for each in sent} == {"op_1-complete"}
    assert len(school.tokens.rejected) == 1


def test_wrong_credentials(school: Hub) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        school.adapter(client_secret="not-the-secret-at-all").authorize(payment())
    assert caught.value.provider_code == "invalid_client"
    assert school.money() == []


def test_too_many_requests(school: Hub) -> None:
    request = school.approved()
    school.fault("complete", "error_429", retry_after=17)
    with pytest.raises(RateLimited) as caught:
        school.adapter().complete(request)
    assert caught.value.retry_after == 17.0
    assert school.money()[0]["captured"] == 0


def test_another_amount_than_asked_shows(school: Hub) -> None:
    paid = school.paid()
    school.fault("status", "wrong_amount")
    found = school.status(paid.provider_ref)
    assert found.money == Money(9_999, "USD")
    assert found.captures is not None
    assert found.captures[0].money == Money(9_999, "USD")
    assert school.status(paid.provider_ref).money == Money(10_000, "USD")


@pytest.mark.parametrize(
    ("minor", "currency", "value"), [(5_000, "JPY", "5000"), (500_000, "HUF", "5000"), (5_001, "EUR", "50.01")]
)
def test_amounts_arrive_as_asked(school: Hub, minor: int, currency: str, value: str) -> None:
    found = school.paid(minor, currency)
    assert found.money == Money(minor, currency)
    sent = school.asked("authorize")[0]["body"]["purchase_units"][0]["amount"]
    assert sent == {"currency_code": currency, "value": value}
    assert school.money()[0]["captured"] == minor


def test_what_paypal_would_refuse_is_refused_before_any_call(school: Hub) -> None:
    adapter = school.adapter()
    for request, error in (
        (payment(currency="KES"), InvalidRequest),
        (payment(5_050, "HUF"), InvalidRequest),
        (payment(token="abc"), UnsupportedOperation),
        (payment(off_session=True), UnsupportedOperation),
        (payment(return_url=""), InvalidRequest),
    ):
        with pytest.raises(error):
            adapter.authorize(request)
    with pytest.raises(InvalidRequest):
        school.adapter(vault=True).authorize(payment(off_session=True))
    assert school.asked("authorize") == []


def test_a_hold_lapses_by_itself(school: Hub) -> None:
    held = school.held()
    assert held.expires_at is not None
    assert held.expires_at - school.now() <= timedelta(days=29)
    school.clock.advance(29 * 86_400)
    found = school.status(held.provider_ref, hold_ref=held.hold_ref)
    assert found.state is PaymentState.EXPIRED
    assert found.capturable == Money(0, "USD")
    assert school.money()[0]["held"] == 0
