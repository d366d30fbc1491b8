"""The real adapter over real sockets against the simulated Pesapal, from order to refund, with what can go wrong."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from integrations.contracts.errors import (
    AuthenticationFailed,
    Conflict,
    InvalidRequest,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.inbound import PaymentTouched
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentResult, PaymentState, RefundState
from integrations.providers.pesapal.tests.hub import Hub
from integrations.providers.pesapal.tests.support import KES_1500, PAYMENT, order, origin, query, refund, void, webhook


def asked_back(school: Hub, result: PaymentResult, **changed: Any) -> Any:
    """Return the refund request of a payment as it stands."""
    given = {
        "payment_receipt": result.receipt,
        "capture_ref": result.receipt,
        "payment_provider_ref": result.provider_ref,
        "method_name": result.method_name,
    }
    return refund(**{**given, **changed})


def paid(school: Hub, method: str = "card", **changed: Any) -> PaymentResult:
    tracking = school.start(**changed)
    school.payer(tracking, "approve", method=method)
    return school.status(tracking)


# --- paying


def test_a_payment_from_order_to_receipt(school: Hub) -> None:
    result = school.adapter().authorize(order())
    tracking = result.provider_ref
    assert result.state is PaymentState.REQUIRES_ACTION
    assert result.next_action is not None
    assert school.status(tracking).state is PaymentState.REQUIRES_ACTION
    page = requests.get(result.next_action["url"], timeout=5)
    assert page.status_code == 200
    for text in ("School fees INV-0042", "KES 1,500.00", 'value="mpesa"', 'value="card"', 'value="fail"', 'value="cancel"'):
        assert text in page.text
    back = requests.post(result.next_action["url"], data={"choice": "mpesa"}, allow_redirects=False, timeout=5)
    assert back.status_code == 303
    assert back.headers["Location"] == (
        f"https://hub.example.com/pay/return?p=1&OrderTrackingId={tracking}"
        f"&OrderMerchantReference={PAYMENT.replace('_', '-')}&OrderNotificationType=CALLBACKURL"
    )
    (notice,) = school.ipns(1)
    webhook.verify(notice, None, by_token=True)
    (event,) = webhook.parse(notice, origin())
    assert isinstance(event, PaymentTouched)
    assert (event.payment_id, event.provider_ref) == (PAYMENT, tracking)
    status = school.status(tracking)
    assert (status.state, status.money, status.method_name) == (PaymentState.SUCCEEDED, KES_1500, "MpesaKE")
    assert status.captures is not None
    assert [(each.provider_ref, each.money) for each in status.captures] == [(status.receipt, KES_1500)]
    assert status.refunds is None
    assert school.asked("token") == 1
    assert school.money() == [
        {
            "ref": tracking,
            "payment_id": PAYMENT,
            "currency": "KES",
            "asked": 150_000,
            "held": 0,
            "captured": 150_000,
            "refunded": 0,
            "disputed": 0,
        }
    ]
    again = requests.get(result.next_action["url"], timeout=5).text
    assert status.receipt in again
    assert "<form" not in again


def test_an_attempt_fails_and_the_next_one_on_the_same_page_pays(school: Hub) -> None:
    tracking = school.start()
    school.payer(PAYMENT, "fail")
    first = school.status(tracking)
    assert first.failure is not None
    assert (first.state, first.failure.code) == (PaymentState.FAILED, "insufficient_funds")
    school.payer(tracking, "approve")
    assert school.status(tracking).state is PaymentState.SUCCEEDED
    one, two = school.ipns(2)
    assert one.body == two.body
    assert len({webhook.verify(each, None, by_token=True).dedupe_key for each in (one, two)}) == 2


def test_going_back_changes_nothing(school: Hub) -> None:
    tracking = school.start()
    assert school.payer(tracking, "cancel")["redirect"].startswith("https://hub.example.com/pay/cancel?OrderTrackingId=")
    assert school.status(tracking).state is PaymentState.REQUIRES_ACTION
    assert school.money()[0]["captured"] == 0


@pytest.mark.parametrize(
    ("tail", "state", "method"),
    [
        (901, PaymentState.SUCCEEDED, "MpesaKE"),
        (902, PaymentState.SUCCEEDED, "Visa"),
        (903, PaymentState.FAILED, "Visa"),
        (904, PaymentState.SUCCEEDED, "MpesaKE"),
        (905, PaymentState.SUCCEEDED, "MpesaKE"),
        (906, PaymentState.SUCCEEDED, "MpesaKE"),
    ],
)
def test_magic_amounts(school: Hub, tail: int, state: PaymentState, method: str) -> None:
    tracking = school.start(money=Money((1000 + tail) * 100, "KES"))
    school.settle()
    result = school.status(tracking)
    assert (result.state, result.method_name) == (state, method)
    assert len(school.hooks.received) == {904: 2, 905: 0, 906: 2}.get(tail, 1)


@pytest.mark.parametrize(("tail", "code"), [(908, "amount_too_large"), (909, "provider_configuration")])
def test_magic_refusals(school: Hub, tail: int, code: str) -> None:
    result = school.adapter().authorize(order(money=Money((1000 + tail) * 100, "KES")))
    assert result.failure is not None
    assert (result.state, result.failure.code) == (PaymentState.FAILED, code)
    assert school.money() == []


def test_another_amount_is_seen_in_the_status(school: Hub) -> None:
    tracking = school.start()
    school.payer(tracking, "approve")
    school.fault("status", "wrong_amount")
    assert school.status(tracking).money == Money(149_999, "KES")
    assert school.status(tracking).money == KES_1500


@pytest.mark.parametrize("currency", ["KES", "UGX", "TZS", "RWF", "USD"])
def test_every_currency_comes_back_as_it_was_asked(school: Hub, currency: str) -> None:
    asked = Money(123_456, currency)
    tracking = school.start(money=asked)
    school.payer(tracking, "approve")
    assert school.status(tracking, money=asked).money == asked


# --- lost answers


@pytest.mark.parametrize("kind", ["drop_after_accept", "error_500_after", "error_500", "refuse"])
def test_an_order_whose_answer_got_lost_is_followed_by_one_with_another_id(school: Hub, kind: str) -> None:
    school.fault("authorize", kind)
    with pytest.raises(ProviderUnavailable):
        school.adapter().authorize(order())
    assert school.adapter().payment_status(query(provider_ref="")).state is PaymentState.ABSENT
    tracking = school.start(attempt=2)
    school.payer(PAYMENT, "approve")
    assert school.status(tracking).state is PaymentState.SUCCEEDED
    assert [row["captured"] for row in school.money() if row["captured"]] == [150_000]
    assert len(school.money()) == (2 if "after" in kind else 1)


def test_the_same_id_twice_is_refused(school: Hub) -> None:
    school.start()
    with pytest.raises(Conflict):
        school.start()
    assert len(school.money()) == 1


def test_a_busy_gateway_and_a_revoked_token(school: Hub) -> None:
    school.fault("authorize", "error_429", retry_after=9)
    with pytest.raises(RateLimited) as caught:
        school.start()
    assert caught.value.retry_after == 9.0
    school.control("POST", "/tokens/revoke")
    assert school.start(attempt=2)
    assert school.asked("token") == 2


def test_a_token_that_ran_out_is_renewed(school: Hub) -> None:
    tracking = school.start()
    school.clock.advance(301)
    assert school.status(tracking).state is PaymentState.REQUIRES_ACTION
    assert school.asked("token") == 2


# --- IPNs


def test_an_ipn_can_come_before_the_order_is_known_here(school: Hub) -> None:
    school.fault("authorize", "early_callback")
    tracking = school.start()
    (notice,) = school.hooks.received
    (event,) = webhook.parse(notice, origin())
    assert isinstance(event, PaymentTouched)
    assert (event.payment_id, event.refs[0]) == (PAYMENT, tracking)
    assert school.status(tracking).state is PaymentState.SUCCEEDED


@pytest.mark.parametrize(
    "answer",
    [(500, b""), (200, b"{}"), (200, b"OK"), (200, b'{"orderNotificationType":"IPNCHANGE","status":200}')],
)
def test_an_ipn_that_is_not_acknowledged_comes_three_times(school: Hub, answer: tuple[int, bytes]) -> None:
    school.hooks.answer = answer
    paid(school)
    school.settle()
    assert len(school.hooks.received) == 3
    assert len({each.body for each in school.hooks.received}) == 1


def test_an_ipn_acknowledged_late_comes_no_more(school: Hub) -> None:
    school.hooks.answer = (500, b"")
    paid(school)
    school.ipns(1)
    school.hooks.answer = None
    school.settle()
    assert len(school.hooks.received) == 2


@pytest.mark.parametrize(("kind", "count"), [("lose_callback", 0), ("duplicate_callback", 2), ("delay_callback", 1)])
def test_the_callback_faults(school: Hub, kind: str, count: int) -> None:
    school.fault("callback", kind)
    paid(school)
    school.settle()
    assert len(school.hooks.received) == count


def test_an_ipn_by_get(school: Hub) -> None:
    school.control("PUT", "/accounts/school", {"webhook_method": "GET"})
    tracking = paid(school).provider_ref
    (notice,) = school.ipns(1)
    assert (notice.method, notice.body) == ("GET", b"")
    assert notice.query == {
        "OrderNotificationType": "IPNCHANGE",
        "OrderTrackingId": tracking,
        "OrderMerchantReference": PAYMENT.replace("_", "-"),
    }
    school.settle()
    assert len(school.hooks.received) == 1


def test_webhooks_are_registered_once_and_used(school: Hub) -> None:
    url = f"{school.hooks.url}/hooks/{'cd' * 20}/ipn"
    first = school.adapter().register_webhooks({"ipn": url}).values["ipn_id"]
    assert school.adapter().register_webhooks({"ipn": url}).values == {"ipn_id": first}
    assert school.asked("register_ipn") == 1
    assert first != school.account.values["ipn_id"]
    tracking = school.adapter(ipn_id=first).authorize(order()).provider_ref
    school.payer(tracking, "approve")
    school.ipns(1)
    jobs = school.running.scheduler.jobs("pesapal")
    assert [job["payload"]["url"] for job in jobs if job["kind"] == "callback"] == [url]


# --- cancelling


def test_a_cancelled_order_can_t_be_paid(school: Hub) -> None:
    tracking = school.start()
    assert school.adapter().void(void(payment_provider_ref=tracking)).state is PaymentState.CANCELLED
    assert "cancelled" in school.control("POST", "/payer", {"ref": tracking, "action": "approve"}, status=400)["error"]
    assert school.adapter().void(void(payment_provider_ref=tracking)).state is PaymentState.CANCELLED
    assert school.money()[0]["captured"] == 0


def test_an_order_that_was_paid_meanwhile_is_not_cancelled(school: Hub) -> None:
    tracking = paid(school).provider_ref
    result = school.adapter().void(void(payment_provider_ref=tracking))
    assert (result.state, result.money) == (PaymentState.SUCCEEDED, KES_1500)


# --- refunds


@pytest.mark.parametrize(("method", "minor"), [("mpesa", 150_000), ("card", 150_000), ("card", 50_050)])
def test_a_refund_is_done_once_a_person_approved_it(school: Hub, method: str, minor: int) -> None:
    result = paid(school, method)
    request = asked_back(school, result, money=Money(minor, "KES"))
    begun = school.adapter().refund(request)
    assert begun.state is RefundState.PROCESSING
    known = asked_back(school, result, money=Money(minor, "KES"), provider_ref=begun.provider_ref)
    assert school.adapter().refund_status(known).state is RefundState.PROCESSING
    assert school.money()[0]["refunded"] == 0
    before = len(school.ipns(1))
    school.dashboard(result.provider_ref, "settle_refund")
    school.ipns(before + 1)
    after = school.status(result.provider_ref)
    assert after.state is PaymentState.SUCCEEDED
    assert after.refunds is not None
    assert [(each.provider_ref, each.state) for each in after.refunds] == [(begun.provider_ref, RefundState.SUCCEEDED)]
    assert school.adapter().refund_status(known).state is RefundState.SUCCEEDED
    assert school.money()[0]["refunded"] == minor


@pytest.mark.parametrize("kind", ["drop_after_accept", "error_500_after", "error_500"])
def test_a_refund_whose_answer_got_lost_is_not_known_and_a_repeat_proves_it(school: Hub, kind: str) -> None:
    result = paid(school)
    school.fault("refund", kind)
    with pytest.raises(OutcomeUnknown) as caught:
        school.adapter().refund(asked_back(school, result))
    assert not caught.value.retryable
    assert school.adapter().refund_status(asked_back(school, result)).state is RefundState.UNKNOWN
    repeated = school.adapter().refund(asked_back(school, result))
    expected = RefundState.PROCESSING if kind == "error_500" else RefundState.FAILED
    assert repeated.state is expected
    if repeated.failure is not None:
        assert repeated.failure.code == "already_refunded"


def test_a_denied_refund_leaves_the_money_where_it_is(school: Hub) -> None:
    result = paid(school)
    school.adapter().refund(asked_back(school, result))
    school.dashboard(result.provider_ref, "fail_refund")
    assert school.status(result.provider_ref).refunds is None
    assert school.money()[0]["refunded"] == 0
    second = school.adapter().refund(asked_back(school, result))
    assert second.state is RefundState.FAILED


def test_pesapal_itself_refuses_a_part_of_mobile_money(school: Hub) -> None:
    result = paid(school, "mpesa")
    with pytest.raises(InvalidRequest):
        school.adapter().refund(asked_back(school, result, money=Money(100, "KES")))
    unchecked = school.adapter().refund(asked_back(school, result, money=Money(100, "KES"), method_name=""))
    assert unchecked.failure is not None
    assert (unchecked.state, unchecked.failure.code) == (RefundState.FAILED, "invalid_request")
    assert school.money()[0]["refunded"] == 0


@pytest.mark.parametrize(("action", "refunded", "disputed"), [("refund", 150_000, 0), ("dispute", 0, 150_000)])
def test_a_reversal_outside_the_hub_shows_in_the_status(school: Hub, action: str, refunded: int, disputed: int) -> None:
    result = paid(school)
    school.dashboard(PAYMENT, action)
    after = school.status(result.provider_ref)
    assert after.refunds is not None
    assert [each.money for each in after.refunds] == [None]
    assert [(row["refunded"], row["disputed"]) for row in school.money()] == [(refunded, disputed)]


# --- accounts


def test_two_merchants_know_nothing_of_each_other(school: Hub, studio: Hub) -> None:
    tracking = paid(school).provider_ref
    result = studio.status(tracking)
    assert result.failure is not None
    assert (result.state, result.failure.code) == (PaymentState.UNKNOWN, "not_found")
    foreign = studio.adapter().refund(asked_back(studio, school.status(tracking)))
    assert foreign.state is RefundState.FAILED
    wrong_id = studio.adapter(ipn_id=school.account.values["ipn_id"]).authorize(order(attempt=2))
    assert wrong_id.failure is not None
    assert wrong_id.failure.code == "provider_configuration"


def test_the_connection_test(school: Hub, studio: Hub) -> None:
    assert school.adapter().test_connection().ok is True
    unknown = school.adapter(ipn_id=studio.account.values["ipn_id"]).test_connection()
    assert (unknown.ok, unknown.status) == (False, "webhooks_unknown")
    with pytest.raises(AuthenticationFailed):
        studio.adapter(consumer_secret="d3Jvbmcgd3Jvbmcgd3Jvbmc=").test_connection()
