"""The real adapter and client against the simulator: holds, captures, voids, declines, 3-D Secure, lost answers."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
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
    Undecided,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentState, RefundState
from integrations.contracts.payment_features import MethodType
from integrations.providers.stripe.tests.hub import START, Hub
from integrations.providers.stripe.tests.support import KEY, PAGE, PAYMENT, RETURN, capture, payment, query, void

KES_1500 = Money(150_000, "KES")


def sums(row: dict[str, Any]) -> tuple[int, int, int, int, int]:
    return row["asked"], row["held"], row["captured"], row["refunded"], row["disputed"]


def test_a_hold_and_its_capture(school: Hub) -> None:
    held = school.held()
    assert held.state is PaymentState.AUTHORIZED
    assert (held.money, held.capturable, held.captures) == (KES_1500, KES_1500, ())
    assert held.expires_at == datetime.fromtimestamp(START + 604_800, UTC)
    assert (held.method_name, held.method_detail) == ("card", "Visa •••• 4242")
    charge = dict(held.references)["charge"]
    taken = school.adapter().capture(capture(held.provider_ref))
    assert (taken.state, taken.money, taken.receipt) == (RefundState.SUCCEEDED, KES_1500, charge)
    assert taken.provider_ref == f"{charge}:op_capture1"
    now = school.status(held.provider_ref)
    assert (now.state, now.receipt, now.capturable) == (PaymentState.SUCCEEDED, charge, Money(0, "KES"))
    assert now.captures is not None
    (fact,) = now.captures
    assert (fact.provider_ref, fact.operation_id, fact.money) == (taken.provider_ref, "op_capture1", KES_1500)
    assert now.fee == fact.fee == Money(150_000 * 29 // 1000 + 30, "KES")
    assert (now.refunds, now.disputes) == ((), ())
    assert sums(school.money()[0]) == (150_000, 0, 150_000, 0, 0)


def test_an_automatic_capture_is_the_authorizing_operations(school: Hub) -> None:
    paid = school.paid()
    assert paid.state is PaymentState.SUCCEEDED
    assert paid.captures is not None
    assert [(each.operation_id, each.money) for each in paid.captures] == [(KEY, KES_1500)]
    assert paid.captures[0].provider_ref == paid.receipt


def test_a_partial_capture_releases_the_rest_and_that_is_no_refund(school: Hub) -> None:
    held = school.held()
    taken = school.adapter().capture(capture(held.provider_ref, 100_000))
    assert taken.money == Money(100_000, "KES")
    now = school.status(held.provider_ref)
    assert (now.state, now.refunds, now.capturable) == (PaymentState.SUCCEEDED, (), Money(0, "KES"))
    assert school.asked("refund_status") == 1, "the list was read, and had the release in it"
    assert sums(school.money()[0]) == (150_000, 0, 100_000, 0, 0)


def test_a_second_capture_is_refused_unless_the_account_has_multicapture(school: Hub) -> None:
    held = school.held()
    school.adapter().capture(capture(held.provider_ref, 100_000))
    second = capture(held.provider_ref, 50_000, operation_id="op_c2", idempotency_key="op_c2")
    refused = school.adapter().capture(second)
    assert refused.state is RefundState.FAILED
    assert refused.failure is not None
    assert (refused.failure.code, refused.failure.provider_code) == ("invalid_state", "payment_intent_unexpected_state")
    assert refused.payment is not None
    assert refused.payment.state is PaymentState.SUCCEEDED
    assert sums(school.money()[0]) == (150_000, 0, 100_000, 0, 0)


def test_several_captures(school: Hub) -> None:
    school.control("PUT", "/accounts/school", {"multicapture": True})
    held, adapter = school.held(), school.adapter(multicapture=True)
    first = adapter.capture(capture(held.provider_ref, 60_000, final=False))
    assert first.payment is not None
    assert (first.payment.state, first.payment.capturable) == (PaymentState.AUTHORIZED, Money(90_000, "KES"))
    rest = capture(held.provider_ref, 90_000, operation_id="op_c2", idempotency_key="op_c2")
    adapter.capture(rest)
    now = school.status(held.provider_ref)
    assert now.captures is not None
    assert {each.operation_id: each.money.minor_units for each in now.captures} == {"op_capture1": 60_000, "op_c2": 90_000}
    assert now.fee is None, "two captures have two fees"
    assert sums(school.money()[0]) == (150_000, 0, 150_000, 0, 0)


def test_a_capture_of_the_dashboard_is_told_apart_from_ours(school: Hub) -> None:
    held = school.held()
    school.dashboard(held.provider_ref, "capture", amount=40_000)
    ours = school.adapter().capture(capture(held.provider_ref))
    assert ours.state is RefundState.FAILED
    now = school.status(held.provider_ref)
    assert now.captures is not None
    assert [(each.operation_id, each.money.minor_units) for each in now.captures] == [("", 40_000)]
    assert school.adapter().capture_status(capture(held.provider_ref)).state is RefundState.UNKNOWN


def test_a_void_releases_the_hold(school: Hub) -> None:
    held = school.held()
    gone = school.adapter().void(void(held.provider_ref))
    assert gone.state is PaymentState.CANCELLED
    now = school.status(held.provider_ref)
    assert (now.state, now.refunds, now.captures) == (PaymentState.CANCELLED, (), ())
    assert sums(school.money()[0]) == (150_000, 0, 0, 0, 0)
    again = school.adapter().void(replace(void(held.provider_ref), operation_id="op_v2", idempotency_key="op_v2"))
    assert again.state is PaymentState.CANCELLED


def test_a_void_that_comes_too_late_tells_the_truth(school: Hub) -> None:
    paid = school.paid()
    found = school.adapter().void(void(paid.provider_ref))
    assert found.state is PaymentState.SUCCEEDED
    assert sums(school.money()[0]) == (150_000, 0, 150_000, 0, 0)


def test_a_hold_lapses_by_itself(school: Hub) -> None:
    held = school.held()
    school.clock.advance(604_801)
    school.received("charge.expired")
    now = school.status(held.provider_ref)
    assert (now.state, now.captures, now.refunds) == (PaymentState.EXPIRED, (), ())
    late = school.adapter().capture(capture(held.provider_ref))
    assert late.state is RefundState.FAILED
    assert sums(school.money()[0]) == (150_000, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("token", "code", "provider_code", "decline"),
    [
        ("pm_card_chargeDeclined", "declined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclined", "declined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedLostCard", "lost_or_stolen_card", "card_declined", "lost_card"),
        ("pm_card_chargeDeclinedStolenCard", "lost_or_stolen_card", "card_declined", "stolen_card"),
        ("pm_card_chargeDeclinedFraudulent", "fraud_suspected", "card_declined", "fraudulent"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card", ""),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc", ""),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error", ""),
    ],
)
def test_declines(school: Hub, token: str, code: str, provider_code: str, decline: str) -> None:
    result = school.paid(token=token)
    assert result.state is PaymentState.FAILED
    assert result.failure is not None
    assert (result.failure.code, result.failure.provider_code, result.failure.decline_code) == (code, provider_code, decline)
    now = school.status(result.provider_ref)
    assert (now.state, now.failure) == (PaymentState.FAILED, result.failure)
    assert sums(school.money()[0]) == (150_000, 0, 0, 0, 0)


def test_a_thief_is_not_told_why(school: Hub) -> None:
    failure = school.paid(token="pm_card_chargeDeclinedStolenCard").failure
    assert failure is not None
    assert failure.message == "The payment was declined."


def test_the_payer_confirms_at_the_bank(school: Hub) -> None:
    waiting = school.held(token="pm_card_threeDSecure2Required")
    assert waiting.state is PaymentState.REQUIRES_ACTION
    assert waiting.next_action is not None
    assert set(waiting.next_action) == {"type", "url"}
    assert school.money()[0]["held"] == 0
    page = requests.get(waiting.next_action["url"], timeout=5)
    assert page.status_code == 200
    assert "Complete authentication" in page.text
    clicked = requests.post(waiting.next_action["url"], data={"action": "approve"}, timeout=5, allow_redirects=False)
    assert clicked.status_code == 303
    assert clicked.headers["Location"].startswith(f"{RETURN}?payment_intent={waiting.provider_ref}&")
    now = school.status(waiting.provider_ref)
    assert (now.state, now.capturable) == (PaymentState.AUTHORIZED, KES_1500)


def test_the_payer_fails_at_the_bank(school: Hub) -> None:
    waiting = school.paid(token="pm_card_threeDSecure2Required")
    assert school.payer(PAYMENT, "fail")["redirect"].endswith("redirect_status=failed")
    now = school.status(waiting.provider_ref)
    assert now.state is PaymentState.FAILED
    assert now.failure is not None
    assert now.failure.code == "authentication_failed"
    assert sums(school.money()[0]) == (150_000, 0, 0, 0, 0)


# --- lost answers


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after", "error_500"])
def test_a_lost_answer_is_undecided_and_the_same_call_tells(school: Hub, fault: str) -> None:
    school.fault("authorize", fault)
    with pytest.raises(Undecided):
        school.held()
    again = school.held()
    assert again.state is PaymentState.AUTHORIZED
    (row,) = school.money()
    assert sums(row) == (150_000, 150_000, 0, 0, 0)
    assert row["payment_id"] == PAYMENT


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after"])
def test_a_lost_capture_is_made_once(school: Hub, fault: str) -> None:
    held = school.held()
    school.fault("capture", fault)
    with pytest.raises(Undecided):
        school.adapter().capture(capture(held.provider_ref, 100_000))
    assert school.adapter().capture_status(capture(held.provider_ref, 100_000)).money == Money(100_000, "KES")
    assert school.adapter().capture(capture(held.provider_ref, 100_000)).state is RefundState.SUCCEEDED
    forgotten = capture(held.provider_ref, 100_000, idempotency_key="another key, as after 24 hours")
    assert school.adapter().capture(forgotten).state is RefundState.SUCCEEDED, "recognised by its note"
    assert sums(school.money()[0]) == (150_000, 0, 100_000, 0, 0)


def test_a_payment_whose_id_got_lost_is_found(school: Hub) -> None:
    assert school.status("").state is PaymentState.ABSENT
    school.fault("authorize", "drop_after_accept")
    with pytest.raises(Undecided):
        school.paid()
    for _ in range(12):
        school.paid(payment_id="pay_other", idempotency_key=f"op_other{_}", token="pm_card_visa")
    found = school.status("")
    assert (found.state, found.money) == (PaymentState.SUCCEEDED, KES_1500)
    assert found.provider_ref == school.money()[0]["ref"]
    too_early = query("", asked_at=datetime.fromtimestamp(START - 90_000, UTC))
    assert school.adapter().payment_status(too_early).state is PaymentState.ABSENT


def test_a_key_lives_24_hours(school: Hub) -> None:
    first = school.held()
    school.clock.advance(86_399)
    assert school.held().provider_ref == first.provider_ref
    with pytest.raises(OutcomeUnknown) as caught:
        school.held(money=Money(150_100, "KES"))
    assert type(caught.value) is OutcomeUnknown, "never repeated"
    assert caught.value.provider_code == "idempotency_error"
    assert len(school.money()) == 1
    school.clock.advance(2)
    assert school.held().provider_ref != first.provider_ref


def test_what_may_be_tried_again(school: Hub) -> None:
    school.fault("authorize", "error_429", retry_after=7)
    with pytest.raises(RateLimited) as limited:
        school.paid()
    assert (limited.value.retry_after, limited.value.provider_code) == (7.0, "rate_limit")
    school.fault("authorize", "lock_timeout")
    with pytest.raises(RateLimited):
        school.paid()
    school.fault("authorize", "key_in_use")
    with pytest.raises(Undecided) as busy:
        school.paid()
    assert busy.value.provider_code == "idempotency_key_in_use"
    school.fault("status", "error_500")
    with pytest.raises(ProviderUnavailable):
        school.status("pi_1")
    assert school.money() == []


def test_refused_credentials_and_a_foreign_account(school: Hub, studio: Hub) -> None:
    with pytest.raises(AuthenticationFailed):
        school.adapter(secret_key="sk_test_wrong").authorize(payment())
    paid = school.paid()
    with pytest.raises(Exception, match="does not know") as caught:
        studio.status(paid.provider_ref)
    assert caught.value.provider_code == "resource_missing"  # type: ignore[attr-defined]


def test_a_connected_account_is_apart(school: Hub) -> None:
    annex = school.running.simulator("stripe").people[2].id  # type: ignore[attr-defined]
    there = school.adapter(connected_account=annex).authorize(payment())
    assert there.state is PaymentState.SUCCEEDED
    assert school.adapter(connected_account=annex).payment_status(query(there.provider_ref)).state is PaymentState.SUCCEEDED
    with pytest.raises(Exception, match="does not know"):
        school.status(there.provider_ref)
    with pytest.raises(AuthenticationFailed):
        school.adapter(connected_account="acct_1foreign").authorize(payment())


# --- amounts, methods, what is not sent


def test_amounts_that_stripe_refuses(school: Hub) -> None:
    result = school.paid(money=Money(49, "USD"))
    assert result.state is PaymentState.FAILED
    assert result.failure is not None
    assert (result.failure.code, result.failure.provider_code) == ("amount_too_small", "amount_too_small")
    asked = school.asked("authorize")
    for money in (Money(5_124, "KWD"), Money(100_000, "UGX"), Money(100_000_000, "USD"), Money(100, "LYD")):
        with pytest.raises(InvalidRequest):
            school.paid(money=money)
    assert school.asked("authorize") == asked
    assert school.paid(money=Money(5_120, "KWD"), idempotency_key="a").money == Money(5_120, "KWD")
    assert school.paid(money=Money(5_000, "ISK"), idempotency_key="b").money == Money(5_000, "ISK")
    assert school.adapter(ugx_decimals="2").authorize(payment(money=Money(7_000, "UGX"), idempotency_key="c")).money == Money(
        7_000, "UGX"
    )
    assert [row["captured"] for row in school.money()] == [5_120, 5_000, 7_000]


@pytest.mark.parametrize("token", ["", "4242424242424242", "cus_1", "tok_visa", "pm_1/../x", "pm_ä"])
def test_tokens_that_are_none_never_leave(school: Hub, token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        school.paid(token=token)
    assert caught.value.attr == "method.token"
    assert not token or token not in caught.value.message
    assert school.asked("authorize") == 0


def test_the_wrong_amount_is_told_as_it_is(school: Hub) -> None:
    paid = school.paid()
    school.fault("status", "wrong_amount")
    assert school.status(paid.provider_ref).money == Money(149_999, "KES")


# --- the hub's own page


def test_the_payer_pays_on_the_hubs_page(school: Hub) -> None:
    opened = school.adapter().authorize(payment(method=MethodType.REDIRECT, token="", capture=False))
    assert opened.state is PaymentState.REQUIRES_ACTION
    assert opened.next_action == {"type": "redirect", "url": PAGE}
    page = school.adapter().payer_page(query(opened.provider_ref, method=MethodType.REDIRECT))
    data = page.context["stripe"]
    assert page.template == "stripe/pay.html"
    assert page.sources == (school.running.url,)
    assert data["publishable_key"] == school.account.values["publishable_key"]
    script = requests.get(page.context["script_url"], timeout=5)
    assert "confirmPayment" in script.text
    assert "pm_card_visa" in script.text
    url = f"{school.running.url}/stripe/v1/payment_intents/{opened.provider_ref}/confirm"

    def confirm(card: str, secret: str = data["client_secret"]) -> requests.Response:
        form = {"key": data["publishable_key"], "client_secret": secret, "payment_method": card, "return_url": RETURN}
        return requests.post(url, data=form, timeout=5)

    assert confirm("pm_card_visa", "pi_x_secret_y").status_code == 404
    declined = confirm("pm_card_chargeDeclined")
    assert declined.status_code == 402
    assert declined.headers["Access-Control-Allow-Origin"] == "*"
    waiting = school.status(opened.provider_ref, method=MethodType.REDIRECT)
    assert waiting.state is PaymentState.REQUIRES_ACTION, "the payer may try another card"
    assert confirm("pm_card_visa").status_code == 200
    assert school.status(opened.provider_ref, method=MethodType.REDIRECT).state is PaymentState.AUTHORIZED
    with pytest.raises(Conflict):
        school.adapter().payer_page(query(opened.provider_ref))
    logged = json.dumps([[each.request_body, each.response_body, each.url] for each in school.recorder.exchanges])
    assert data["client_secret"] not in logged
    assert data["client_secret"] not in json.dumps(school.control("GET", "/state"))
    assert data["client_secret"] not in json.dumps(school.control("GET", "/requests"))


def test_a_page_that_nobody_used_is_called_off(school: Hub) -> None:
    opened = school.adapter().authorize(payment(method=MethodType.REDIRECT, token=""))
    school.payer(opened.provider_ref, "cancel")
    assert school.status(opened.provider_ref, method=MethodType.REDIRECT).state is PaymentState.REQUIRES_ACTION
    gone = school.adapter().void(void(opened.provider_ref, held=False, abandoned=True))
    assert gone.state is PaymentState.CANCELLED
    school.control("POST", "/payer", {"ref": opened.provider_ref, "action": "approve"}, status=400)
    assert sums(school.money()[0]) == (150_000, 0, 0, 0, 0)
