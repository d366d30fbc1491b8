"""The real adapter over real sockets against the simulated Daraja: pushes, customers' payments, set-up."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from integrations.contracts.errors import (
    AuthenticationFailed,
    Conflict,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.inbound import (
    InboundRequest,
    MoneyReceived,
    PaymentReported,
    ReceiptReported,
    ValidationAnswer,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    PaymentState,
    ReceiptQuery,
)
from integrations.providers.mpesa.tests.hub import START, Hub
from integrations.providers.mpesa.tests.support import KES_1500, push, query, webhook
from tests.simulators.support import wait_for

# --- STK


def test_a_payment_from_prompt_to_receipt(school: Hub) -> None:
    result = school.adapter().authorize(push(phone="0712345678", callback_url=school.base))
    assert result.state is PaymentState.PROCESSING
    checkout = result.provider_ref
    assert school.adapter().payment_status(query(checkout)).state is PaymentState.PROCESSING
    (prompt,) = school.control("GET", "/phone/prompts?msisdn=254712345678")
    assert (prompt["id"], prompt["account"], prompt["amount"]) == (checkout, "INV-0042", 1500)
    school.control("POST", f"/phone/prompts/{checkout}", {"action": "pin", "pin": "1234"})
    (event,) = school.events("c", "payment:pay_1")
    assert isinstance(event, PaymentReported)
    assert (event.provider_ref, event.state, event.money) == (checkout, PaymentState.SUCCEEDED, KES_1500)
    assert (event.payer, event.token_object, event.references) == ("+254712345678", "payment:pay_1", result.references)
    assert event.occurred_at is not None
    assert abs(event.occurred_at.timestamp() - START) < 60
    status = school.adapter().payment_status(query(checkout))
    assert (status.state, status.provider_ref, status.receipt, status.money) == (PaymentState.SUCCEEDED, checkout, "", None)
    assert school.asked("oauth") == 1


@pytest.mark.parametrize(
    ("tail", "state", "failure"),
    [
        ("001", PaymentState.SUCCEEDED, None),
        ("002", PaymentState.CANCELLED, "cancelled_by_payer"),
        ("003", PaymentState.FAILED, "insufficient_funds"),
        ("004", PaymentState.FAILED, "wrong_pin"),
        ("005", PaymentState.EXPIRED, "payer_unreachable"),
        ("014", PaymentState.FAILED, "payer_locked"),
        ("015", PaymentState.FAILED, "provider_busy"),
        ("016", PaymentState.FAILED, "provider_error"),
        ("017", PaymentState.EXPIRED, "payment_expired"),
        ("018", PaymentState.FAILED, "prompt_not_sent"),
        ("019", PaymentState.FAILED, "prompt_not_sent"),
        ("022", PaymentState.UNKNOWN, "unknown_result"),
    ],
)
def test_outcomes_by_callback_and_by_query(school: Hub, tail: str, state: PaymentState, failure: str | None) -> None:
    checkout = school.push(f"254712345{tail}")
    (event,) = school.events("c")
    assert isinstance(event, PaymentReported)
    asked = school.adapter().payment_status(query(checkout))
    for told in (event, asked):
        assert (told.provider_ref, told.state, told.failure.code if told.failure else None) == (checkout, state, failure)


def test_a_lost_callback_is_learned_by_asking_in_spite_of_stray_answers(school: Hub) -> None:
    checkout = school.push("254712345021")
    wait_for(lambda: (school.clock.advance(1), school.control("GET", "/mpesa/state")["pushes"][0]["result"])[1])
    states = [school.adapter().payment_status(query(checkout)).state for _ in range(3)]
    assert states == [PaymentState.PROCESSING, PaymentState.PROCESSING, PaymentState.SUCCEEDED]
    assert school.hooks.received == []


def test_a_wrong_amount_is_reported_as_it_was_told(school: Hub) -> None:
    school.push("254712345008")
    (event,) = school.events("c")
    assert isinstance(event, PaymentReported)
    assert event.money == Money(149_900, "KES")


def test_a_repeated_callback_has_the_same_key(school: Hub) -> None:
    school.push("254712345007")
    path = f"{school.base.removeprefix(school.hooks.url)}/c"
    requests_ = [InboundRequest("POST", "c", {}, each.headers, each.body) for each in school.received(path, 2)]
    keys = {webhook.verify(each, None, by_token=True).dedupe_key for each in requests_}
    assert len(requests_) == 2
    assert len(keys) == 1


@pytest.mark.parametrize("tail", ["011", "012", "013"])
def test_refusals_for_load_did_nothing(school: Hub, tail: str) -> None:
    with pytest.raises(RateLimited) as caught:
        school.push(f"254712345{tail}")
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 30
    assert school.control("GET", "/mpesa/state")["pushes"] == []


def test_an_answer_that_got_lost_is_unknown_and_its_callback_tells_all(school: Hub) -> None:
    with pytest.raises(OutcomeUnknown):
        school.push("254712345010")
    (event,) = school.events("c", "payment:pay_1")
    assert isinstance(event, PaymentReported)
    assert (event.state, event.money, event.token_object) == (PaymentState.SUCCEEDED, KES_1500, "payment:pay_1")
    assert school.asked("stk_push") == 1
    assert school.adapter().payment_status(query(event.provider_ref)).state is PaymentState.SUCCEEDED


@pytest.mark.parametrize(
    ("fault", "money", "safe"),
    [
        ("error_500", OutcomeUnknown, ProviderUnavailable),
        ("error_429", RateLimited, RateLimited),
        ("refuse", OutcomeUnknown, ProviderUnavailable),
        ("drop_after_accept", OutcomeUnknown, ProviderUnavailable),
    ],
)
def test_faults(school: Hub, fault: str, money: type[ProviderError], safe: type[ProviderError]) -> None:
    checkout = school.push("254712345678")
    school.fault("stk_push", fault)
    with pytest.raises(ProviderError) as caught:
        school.push("254712345679")
    assert type(caught.value) is money
    school.fault("stk_query", fault)
    with pytest.raises(ProviderError) as caught:
        school.adapter().payment_status(query(checkout))
    assert type(caught.value) is safe
    assert (school.asked("stk_push"), school.asked("stk_query")) == (2, 1)


def test_a_server_that_is_gone_was_never_reached(school: Hub) -> None:
    adapter = school.adapter()
    school.tokens.token = "something"
    port = urlsplit(school.running.url).port
    school.running.stop()
    with socket.socket() as taken:  # nobody else gets the port meanwhile
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        with pytest.raises(ProviderUnavailable):
            adapter.authorize(push(phone="254712345678", callback_url=school.base))
    school.running.start()


@pytest.mark.parametrize("code", ["401.002.01", "401.003.01", "404.001.03", "400.003.01"])
def test_a_revoked_token_is_renewed_within_the_call(school: Hub, code: str) -> None:
    school.control("PUT", "/mpesa/settings", {"token_error": code})
    school.push("254712345678")
    school.control("POST", "/mpesa/tokens/revoke")
    school.push("254712345679")
    assert len(school.control("GET", "/mpesa/state")["pushes"]) == 2
    assert (school.asked("oauth"), school.asked("stk_push")) == (2, 3)


# --- set-up


def test_connection_tests(school: Hub, studio: Hub) -> None:
    for hub in (school, studio):
        result = hub.adapter().test_connection()
        assert (result.ok, result.status) == (True, "ok")
        assert result.detail == (
            "Consumer key and secret accepted; shortcode and passkey accepted; certificate loads, initiator not tried."
        )


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"consumer_secret": "wrong"}, "consumer key or secret"),
        ({"passkey": "wrong"}, "shortcode and passkey"),
        ({"shortcode": "600111"}, "does not know this shortcode"),
    ],
)
def test_connection_tests_that_fail(school: Hub, changed: dict[str, str], text: str) -> None:
    with pytest.raises(AuthenticationFailed, match=text):
        school.adapter(**changed).test_connection()


def test_customers_pay_by_themselves(school: Hub, studio: Hub) -> None:
    for hub, account in ((school, "INV-0042"), (studio, "")):
        urls = {purpose: f"{hub.base}/{purpose}" for purpose in webhook.config_purposes}
        hub.hooks.answer = (200, webhook.ack(InboundRequest("POST", "v", {}, {}, b"")).body)
        hub.adapter().register_webhooks(urls)
        code = hub.account.values["shortcode"]
        paid = {"shortcode": code, "amount": 1500, "msisdn": "254712345678", "bill_ref": account, "name": "Jane Doe"}
        sent = hub.control("POST", "/mpesa/c2b", paid)
        assert hub.events("v") == []
        (event,) = hub.events("n")
        assert isinstance(event, MoneyReceived)
        payment = event.payment
        assert (payment.receipt, payment.money, payment.account_number) == (sent["TransID"], KES_1500, account)
        assert (payment.destination, payment.payer, payment.payer_name) == (code, "2547 ***** 678", "JANE")


def test_a_rejected_customer_payment_is_not_taken(school: Hub) -> None:
    school.adapter().register_webhooks({purpose: f"{school.base}/{purpose}" for purpose in ("v", "n")})
    rejection = webhook.ack(InboundRequest("POST", "v", {}, {}, b""), ValidationAnswer(False, "account"))
    school.hooks.answer = (rejection.status, rejection.body)
    paid = {"shortcode": school.account.values["shortcode"], "amount": 1500, "msisdn": "254712345678", "bill_ref": "X"}
    receipt = school.control("POST", "/mpesa/c2b", paid)["TransID"]
    path = f"{school.base.removeprefix(school.hooks.url)}/v"
    school.received(path, 1)
    school.clock.advance(20)
    school.adapter().receipt_status(ReceiptQuery(receipt, school.base))
    (event,) = school.events("s", "receipt:pay_1")
    assert isinstance(event, ReceiptReported)
    assert event.confirmed is False
    assert school.hooks.at(path.replace("/v", "/n")) == []


def test_registering_twice_in_production_is_a_conflict(school: Hub) -> None:
    school.control("PUT", "/mpesa/settings", {"register_once": True})
    urls = {purpose: f"{school.base}/{purpose}" for purpose in ("v", "n")}
    school.adapter().register_webhooks(urls)
    with pytest.raises(Conflict):
        school.adapter().register_webhooks(urls)
