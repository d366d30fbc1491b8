"""The real adapter over real sockets against the simulated Flutterwave: pages, prompts, faults."""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests

from integrations.contracts.errors import AuthenticationFailed, OutcomeUnknown, ProviderError, ProviderUnavailable, RateLimited
from integrations.contracts.inbound import Trust
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentState
from integrations.contracts.payment_features import MethodType
from integrations.providers.flutterwave.tests.hub import Hub, webhook
from integrations.providers.flutterwave.tests.support import KES_1500, M_PESA, PAYMENT

PROMPT = MethodType.MOBILE_MONEY
PAID, FAILED, WAITING = PaymentState.SUCCEEDED, PaymentState.FAILED, PaymentState.REQUIRES_ACTION


# --- the hosted page


def test_a_page_from_link_to_receipt(school: Hub) -> None:
    link = school.page()
    assert school.status().state is WAITING
    shown = requests.get(link, timeout=5)
    assert (shown.status_code, shown.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "KES 1,500" in shown.text
    assert "Demo School" in shown.text
    back = requests.post(link, data={"action": "approve"}, timeout=5, allow_redirects=False)
    assert back.status_code == 303
    assert (
        back.headers["Location"] == f"https://hub.example/pay/return?status=successful&tx_ref={PAYMENT}&transaction_id=4193428"
    )
    (event,) = school.touched()
    assert (event.payment_id, event.refs, event.trust) == (PAYMENT, (PAYMENT, "4193428"), Trust.TOKEN)
    result = school.status()
    assert (result.state, result.money, result.fee) == (PAID, KES_1500, Money(4350, "KES"))
    assert result.captures is not None
    assert [(each.provider_ref, each.money) for each in result.captures] == [("4193428", KES_1500)]
    assert (result.refunds, result.method_name, result.method_detail) == ((), "card", "Mastercard •••• 2950")
    assert school.money() == [(PAYMENT, 150_000, 150_000, 0)]
    again = requests.get(link, timeout=5, allow_redirects=False)
    assert again.headers["Location"] == back.headers["Location"]


def test_failed_tries_and_then_a_paid_one_on_the_same_page(school: Hub) -> None:
    link = school.page()
    for form in ({"action": "fail"}, {"action": "approve", "card": "5258585922666506"}):
        back = requests.post(link, data=form, timeout=5, allow_redirects=False)
        assert "status=failed" in back.headers["Location"]
        assert school.status().state is WAITING
    assert "Insufficient Funds" in requests.get(link, timeout=5).text
    school.payer("approve")
    result = school.status()
    assert (result.state, len(result.references), len(result.captures or ())) == (PAID, 3, 1)
    assert [captured for _ref, _asked, captured, _refunded in school.money()] == [0, 0, 150_000]
    assert len(school.touched(3)) == 3


def test_going_back_leaves_the_page_open_until_its_time_is_up(school: Hub) -> None:
    link = school.page()
    opened = school.now()
    back = requests.post(link, data={"action": "cancel"}, timeout=5, allow_redirects=False)
    assert back.headers["Location"] == f"https://hub.example/pay/return?status=cancelled&tx_ref={PAYMENT}"
    assert school.status(asked_at=opened).state is WAITING
    school.clock.advance(75 * 60)
    assert school.status(asked_at=opened).state is PaymentState.EXPIRED
    late = requests.post(link, data={"action": "approve"}, timeout=5, allow_redirects=False)
    assert (late.status_code, "expired" in late.text) == (400, True)
    assert school.money() == [(PAYMENT, 150_000, 0, 0)]


def test_a_link_that_the_dashboard_says_is_expired_takes_nothing(school: Hub) -> None:
    link = school.page()
    school.dashboard("expire")
    assert "expired" in requests.get(link, timeout=5).text
    assert requests.post(link, data={"action": "approve"}, timeout=5, allow_redirects=False).status_code == 400


def test_mpesa_on_the_hosted_page(school: Hub) -> None:
    link = school.page()
    waiting = requests.post(link, data={"action": "phone", "phone": "+254 712 345 678"}, timeout=5)
    assert "Check your phone" in waiting.text
    assert school.status().state is PaymentState.PROCESSING
    (prompt,) = school.control("GET", "/phone/prompts?msisdn=254712345678")
    school.control("POST", f"/phone/prompts/{prompt['id']}", {"action": "pin", "pin": "1234"})
    result = school.status()
    assert (result.state, result.method_detail) == (PAID, "M-Pesa •••• 5678")


def test_a_fraction_of_a_shilling_leaves_mpesa_out(school: Hub) -> None:
    money = Money(150_050, "KES")
    link = school.page(money=money)
    assert "M-Pesa" not in requests.get(link, timeout=5).text
    refused = requests.post(link, data={"action": "phone", "phone": "254712345678"}, timeout=5, allow_redirects=False)
    assert refused.status_code == 400
    school.payer("approve")
    assert school.status(money=money).money == money


@pytest.mark.parametrize("currency", ["UGX", "TZS", "NGN", "RWF", "GHS", "ZMW", "XAF", "XOF", "USD"])
def test_every_currency(school: Hub, currency: str) -> None:
    money = Money(150_000, currency)
    school.page(money=money)
    school.payer("approve")
    result = school.status(money=money)
    assert (result.state, result.money, result.fee) == (PAID, money, Money(4350, currency))


def test_paid_twice_under_one_reference_is_told_as_two(school: Hub) -> None:
    school.page()
    school.payer("approve")
    school.control("POST", "/flutterwave/payer", {"ref": PAYMENT, "action": "approve"}, 400)
    school.payer("approve", again=True)
    result = school.status()
    assert [each.money for each in result.captures or ()] == [KES_1500, KES_1500]
    assert (result.money, result.fee) == (KES_1500, Money(8700, "KES"))


def test_asking_for_the_page_again_is_harmless(school: Hub) -> None:
    school.fault("authorize", "drop_after_accept")
    with pytest.raises(ProviderUnavailable):
        school.page()
    school.page(attempt=2)
    school.payer("approve")
    assert school.status().state is PAID
    assert school.money() == [(PAYMENT, 150_000, 150_000, 0)]


# --- the prompt


def test_a_prompt_from_phone_to_receipt(school: Hub) -> None:
    result = school.prompt("0712345678")
    assert (result.state, result.references) == (PaymentState.PROCESSING, (("transaction", "4193428"),))
    assert school.status(PROMPT).state is PaymentState.PROCESSING
    (prompt,) = school.control("GET", "/phone/prompts?msisdn=254712345678")
    assert (prompt["account"], prompt["amount"], prompt["merchant"]) == (PAYMENT, 1500, "Demo School")
    school.control("POST", f"/phone/prompts/{prompt['id']}", {"action": "pin", "pin": "1234"})
    (event,) = school.touched()
    assert event.refs == (PAYMENT, "4193428")
    paid = school.status(PROMPT)
    assert (paid.state, paid.money, paid.method_name) == (PAID, KES_1500, M_PESA)
    school.control("POST", f"/phone/prompts/{prompt['id']}", {"action": "cancel"}, 400)


@pytest.mark.parametrize(
    ("tail", "state", "failure"),
    [
        ("001", PAID, None),
        ("002", FAILED, "cancelled_by_payer"),
        ("003", FAILED, "insufficient_funds"),
        ("004", FAILED, "wrong_pin"),
        ("005", FAILED, "payer_unreachable"),
    ],
)
def test_outcomes_of_prompts(school: Hub, tail: str, state: PaymentState, failure: str | None) -> None:
    school.prompt(f"254712345{tail}")
    result = school.settled()
    assert (result.state, result.failure.code if result.failure else None) == (state, failure)
    assert school.money() == [(PAYMENT, 150_000, 150_000 if state is PAID else 0, 0)]
    assert len(school.touched()) == 1


@pytest.mark.parametrize(("action", "state"), [("approve", PAID), ("fail", FAILED), ("cancel", FAILED)])
def test_a_waiting_prompt_is_answered_by_control(school: Hub, action: str, state: PaymentState) -> None:
    school.prompt()
    school.payer(action)
    assert school.status(PROMPT).state is state


def test_a_prompt_that_nobody_answers_times_out(school: Hub) -> None:
    school.prompt()
    school.clock.advance(61)
    result = school.settled()
    assert result.failure is not None
    assert (result.state, result.failure.code) == (FAILED, "payer_unreachable")


def test_a_wrong_pin_and_an_unknown_prompt(school: Hub) -> None:
    number = school.prompt().references[0][1]
    school.control("POST", "/phone/prompts/1", {"action": "pin", "pin": "1234"}, 404)
    school.control("POST", f"/phone/prompts/{number}", {"action": "pin", "pin": "9999"})
    result = school.status(PROMPT)
    assert result.failure is not None
    assert result.failure.code == "wrong_pin"


@pytest.mark.parametrize("tail", ["010", "023"])
def test_a_lost_answer_is_not_repeated_and_found_by_our_reference(school: Hub, tail: str) -> None:
    with pytest.raises(OutcomeUnknown):
        school.prompt(f"254712345{tail}")
    result = school.settled(provider_ref="")
    assert (result.state, result.provider_ref, result.money) == (PAID, PAYMENT, KES_1500)
    assert school.asked("authorize") == 1


def test_503_after_28_seconds_says_nothing_about_the_charge(school: Hub) -> None:
    school.fault("authorize", "error_503_after")
    with pytest.raises(OutcomeUnknown):
        school.prompt()
    school.payer("approve")
    assert school.status(PROMPT, provider_ref="").state is PAID


def test_the_same_reference_within_two_minutes_is_unknown_and_not_a_second_prompt(school: Hub) -> None:
    school.prompt()
    with pytest.raises(OutcomeUnknown) as caught:
        school.prompt()
    assert caught.value.provider_code == "duplicate_reference"
    assert len(school.money()) == 1
    school.clock.advance(121)
    school.prompt()
    assert len(school.money()) == 2, "after two minutes Flutterwave takes it anew: so no reference is ever used twice"


def test_a_second_try_after_a_certain_no_is_found_under_its_own_reference(school: Hub) -> None:
    school.fault("authorize", "error_429", retry_after=7)
    with pytest.raises(RateLimited) as caught:
        school.prompt()
    assert caught.value.retry_after == 7
    assert school.status(PROMPT, provider_ref="").state is PaymentState.ABSENT
    assert school.prompt(attempt=2).provider_ref == f"{PAYMENT}-2"
    school.payer("approve")
    assert school.status(PROMPT, attempts=2).provider_ref == f"{PAYMENT}-2"
    assert school.status(PROMPT, provider_ref="", attempts=2).state is PAID


@pytest.mark.parametrize(
    ("fault", "prompt", "page"),
    [
        ("error_500", OutcomeUnknown, ProviderUnavailable),
        ("error_500_after", OutcomeUnknown, ProviderUnavailable),
        ("error_429", RateLimited, RateLimited),
        ("refuse", OutcomeUnknown, ProviderUnavailable),
        ("drop_after_accept", OutcomeUnknown, ProviderUnavailable),
    ],
)
def test_faults(school: Hub, fault: str, prompt: type[ProviderError], page: type[ProviderError]) -> None:
    for start, wanted in ((school.prompt, prompt), (school.page, page)):
        school.fault("authorize", fault)
        with pytest.raises(ProviderError) as caught:
            start()
        assert type(caught.value) is wanted
    school.fault("status", fault)
    with pytest.raises(ProviderError) as caught:
        school.status()
    assert type(caught.value) is page


# --- keys, accounts


@pytest.mark.parametrize("key", ["FLWSECK_TEST-wrong-X", "FLWSECK-live-X"])
def test_wrong_keys(school: Hub, key: str) -> None:
    with pytest.raises(AuthenticationFailed):
        school.adapter(secret_key=key).test_connection()


def test_accounts_do_not_see_each_other(school: Hub, studio: Hub) -> None:
    assert school.adapter().test_connection().ok
    assert studio.adapter().test_connection().ok
    school.page()
    school.payer("approve")
    assert studio.status(provider_ref="").state is PaymentState.ABSENT
    assert school.status().state is PAID
    assert school.received(1)[0].path == "/school"


def test_a_wrong_amount_in_the_next_answer_is_told_as_it_was_said(school: Hub) -> None:
    school.page()
    school.payer("approve")
    school.fault("status", "wrong_amount")
    assert school.status().money == Money(149_900, "KES")
    assert school.status().money == KES_1500


# --- webhooks


@pytest.mark.parametrize(
    ("kind", "trust"), [("verif-hash", Trust.TOKEN), ("hmac", Trust.SIGNED), ("both", Trust.SIGNED), ("plain", Trust.TOKEN)]
)
def test_each_way_to_prove_a_webhook(school: Hub, kind: str, trust: Trust) -> None:
    school.control("PUT", "/flutterwave/accounts/school", {"signature": kind})
    school.page()
    school.payer("approve")
    (request,) = school.requests(1)
    view = school.view(plain_signature=kind == "plain")
    assert webhook.verify(request, view, by_token=False).trust is trust


def test_webhooks_are_tried_three_times_more_until_the_answer_is_200(school: Hub) -> None:
    school.hooks.answer = (204, b"")
    school.page()
    school.payer("approve")
    school.received(1)
    for count in (2, 3, 4):
        school.clock.advance(30)
        school.received(count)
    school.answered(4)
    school.clock.advance(300)
    assert school.running.scheduler.jobs("flutterwave", pending=True) == []
    keys = {webhook.verify(each, school.view(), by_token=False).dedupe_key for each in school.requests(4)}
    assert (len(school.hooks.received), len(keys)) == (4, 1)


@pytest.mark.parametrize("changed", [{"webhook_retries": False}, {}])
def test_no_retry_where_it_is_off_or_the_answer_is_200(school: Hub, changed: dict[str, bool]) -> None:
    if changed:
        school.hooks.answer = (500, b"")
    school.control("PUT", "/flutterwave/accounts/school", changed)
    school.page()
    school.payer("approve")
    school.received(1)
    school.answered(1)
    assert len(school.hooks.received) == 1
    assert school.running.scheduler.jobs("flutterwave", pending=True) == []


def test_a_lost_webhook_is_learned_by_asking_and_can_be_sent_again(school: Hub) -> None:
    school.fault("authorize", "lose_callback")
    school.prompt("254712345001")
    paid = school.settled()
    assert (paid.state, school.hooks.received) == (PAID, [])
    key = school.account.secrets["secret_key"]
    url = f"{school.running.url}/flutterwave/v3/transactions/{paid.references[0][1]}/resend-hook"
    answer = requests.post(url, headers={"Authorization": f"Bearer {key}"}, timeout=5)
    assert answer.json() == {"status": "success", "message": "hook sent successfully", "data": "hook sent"}
    assert len(school.touched()) == 1


def test_a_doubled_webhook_has_one_key_and_an_early_one_comes_before_the_answer(school: Hub) -> None:
    school.fault("charge_webhook", "duplicate_callback")
    school.fault("charge_webhook", "early_callback")
    school.prompt()
    first, second = school.requests(2)
    assert first.body == second.body
    assert len({webhook.verify(each, school.view(), by_token=False).dedupe_key for each in (first, second)}) == 1
    assert school.status(PROMPT).state is PAID


def test_a_late_webhook_and_one_with_another_amount(school: Hub) -> None:
    school.fault("charge_webhook", "delay_callback", seconds=20)
    school.fault("charge_webhook", "wrong_amount")
    school.page()
    before = school.now()
    school.payer("approve")
    (received,) = school.received(1)
    assert school.now() - before >= timedelta(seconds=20)
    assert received.json()["data"]["amount"] == 1499
    assert school.status().money == KES_1500
