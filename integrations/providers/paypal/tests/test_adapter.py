"""The adapter against written-down answers: what PayPal says and what the hub makes of it, strange answers included."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.adapter import Reply
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
)
from integrations.contracts.failures import VOCABULARY
from integrations.contracts.money import Money
from integrations.contracts.payment import DisputeState, PaymentQuery, PaymentState, RefundState
from integrations.contracts.wire import Wire
from integrations.providers.paypal import codes, reading
from integrations.providers.paypal.calls import request_id
from integrations.providers.paypal.tests.hub import payment, refund
from integrations.providers.paypal.tests.support import NOW, adapter, answer, capture, error, fixture, hold, order

QUERY = PaymentQuery("pay_1", "5O190127TN364715T", Money(10_000, "USD"))
NO_DISPUTES = answer({"links": []})


def state_of(body: dict[str, Any]) -> PaymentState:
    made, _http = adapter(answer(body), *[NO_DISPUTES] * 3)
    return made.payment_status(QUERY).state


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (order("CREATED"), PaymentState.REQUIRES_ACTION),
        (order("SAVED"), PaymentState.REQUIRES_ACTION),
        (order("PAYER_ACTION_REQUIRED"), PaymentState.REQUIRES_ACTION),
        (order("APPROVED"), PaymentState.APPROVED),
        (order("VOIDED"), PaymentState.CANCELLED),
        (order("SOMETHING_NEW"), PaymentState.UNKNOWN),
        (order("COMPLETED"), PaymentState.UNKNOWN),
        (order(captures=[capture()]), PaymentState.SUCCEEDED),
        (order(captures=[capture("REFUNDED")]), PaymentState.SUCCEEDED),
        (order(captures=[capture("PARTIALLY_REFUNDED")]), PaymentState.SUCCEEDED),
        (order(captures=[capture("PENDING")]), PaymentState.PROCESSING),
        (order(captures=[capture("DECLINED")]), PaymentState.FAILED),
        (order(captures=[capture("FAILED")]), PaymentState.FAILED),
        (order(captures=[capture("SOMETHING_NEW")]), PaymentState.UNKNOWN),
        (order(authorizations=[hold()]), PaymentState.AUTHORIZED),
        (order(authorizations=[hold("PENDING")]), PaymentState.PROCESSING),
        (order(authorizations=[hold("DENIED")]), PaymentState.FAILED),
        (order(authorizations=[hold("VOIDED")]), PaymentState.CANCELLED),
        (order(authorizations=[hold("EXPIRED")]), PaymentState.EXPIRED),
        (order(authorizations=[hold("SOMETHING_NEW")]), PaymentState.UNKNOWN),
        (order(authorizations=[hold(expiration_time="2026-07-10T09:15:26Z")]), PaymentState.EXPIRED),
        (order(authorizations=[hold("CAPTURED")], captures=[capture()]), PaymentState.SUCCEEDED),
        (order(authorizations=[hold("CAPTURED")], captures=[capture("PENDING")]), PaymentState.PROCESSING),
        (order(authorizations=[hold("CAPTURED")], captures=[capture("DECLINED")]), PaymentState.FAILED),
        (order(authorizations=[hold("VOIDED")], captures=[capture(value="40.00")]), PaymentState.SUCCEEDED),
    ],
)
def test_what_an_order_says(body: dict[str, Any], expected: PaymentState) -> None:
    assert state_of(body) is expected


def test_the_short_form_of_an_answer_is_read_again_in_full() -> None:
    short = answer({"id": "5O190127TN364715T", "status": "COMPLETED", "links": []}, 201)
    made, http = adapter(short, answer(order(captures=[capture()])), NO_DISPUTES)
    found = made.complete(payment(provider_ref="5O190127TN364715T"))
    assert found.state is PaymentState.SUCCEEDED
    assert [(each["method"], each["url"]) for each in http.sent] == [
        ("POST", "/v2/checkout/orders/5O190127TN364715T/capture"),
        ("GET", "/v2/checkout/orders/5O190127TN364715T"),
        ("GET", "/v1/customer/disputes"),
    ]
    assert http.sent[0]["headers"]["Prefer"] == "return=representation"
    assert http.sent[0]["safe"] is False


def test_when_reading_again_fails_too_the_call_may_be_repeated() -> None:
    made, _http = adapter(answer(b"<html>", 201), ProviderUnavailable("no"))
    with pytest.raises(Undecided):
        made.complete(payment(provider_ref="5O190127TN364715T"))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (error(500, name="INTERNAL_SERVER_ERROR"), Undecided),
        (error(503, name="SERVICE_UNAVAILABLE"), Undecided),
        (answer(b"", 502), Undecided),
        (OutcomeUnknown("cut"), Undecided),
        (ProviderUnavailable("never sent"), ProviderUnavailable),
        (error(409, "PREVIOUS_REQUEST_IN_PROGRESS", "RESOURCE_CONFLICT"), Undecided),
        (error(429, name="RATE_LIMIT_REACHED"), RateLimited),
        (error(400, "INVALID_PARAMETER_VALUE", "INVALID_REQUEST"), InvalidRequest),
    ],
)
def test_how_running_an_order_may_end_without_a_result(reply: Reply | Exception, expected: type[ProviderError]) -> None:
    made, _http = adapter(reply)
    with pytest.raises(expected) as caught:
        made.complete(payment(provider_ref="5O190127TN364715T"))
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (error(500, name="INTERNAL_SERVER_ERROR"), ProviderUnavailable),
        (answer(b"not json", 201), ProviderUnavailable),
        (answer({"id": "X", "status": "CREATED"}, 201), ProviderUnavailable),
        (answer(order("CREATED"), 201), ProviderUnavailable),  # no page for the payer
        (error(409, "PREVIOUS_REQUEST_IN_PROGRESS", "RESOURCE_CONFLICT"), ProviderUnavailable),
        (error(400, "MALFORMED_REQUEST_JSON", "INVALID_REQUEST"), InvalidRequest),
    ],
)
def test_how_creating_an_order_may_end_without_a_result(reply: Reply, expected: type[ProviderError]) -> None:
    made, http = adapter(reply)
    with pytest.raises(expected) as caught:
        made.authorize(payment())
    assert type(caught.value) is expected
    assert http.sent[0]["safe"] is True


@pytest.mark.parametrize("rel", ["payer-action", "approve"])
def test_either_link_leads_to_the_payers_page(rel: str) -> None:
    page = "https://www.sandbox.paypal.com/checkoutnow?token=5O190127TN364715T"
    made, _http = adapter(answer({**order("CREATED"), "links": [{"href": page, "rel": rel, "method": "GET"}]}, 201))
    found = made.authorize(payment())
    assert found.next_action == {"type": "redirect", "url": page}


def test_a_refusal_at_creation_is_a_failed_payment() -> None:
    made, _http = adapter(error(422, "PAYEE_ACCOUNT_RESTRICTED"))
    found = made.authorize(payment())
    assert found.state is PaymentState.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.type) == ("account_state", "configuration_error")


def test_a_field_that_paypal_names_is_ours() -> None:
    reply = answer(
        {
            "name": "INVALID_REQUEST",
            "details": [
                {"issue": "INVALID_PARAMETER_SYNTAX", "field": "/purchase_units/@reference_id=='default'/amount/value"}
            ],
        },
        400,
    )
    made, _http = adapter(reply)
    with pytest.raises(InvalidRequest) as caught:
        made.authorize(payment())
    assert (caught.value.attr, caught.value.provider_code) == ("amount", "INVALID_PARAMETER_SYNTAX")


def test_a_link_in_the_refusal_takes_the_payer_back() -> None:
    page = "https://www.sandbox.paypal.com/checkoutnow?token=5O190127TN364715T"
    refused = error(422, "INSTRUMENT_DECLINED", links=[{"href": page, "rel": "redirect", "method": "GET"}])
    made, _http = adapter(refused, answer(order("APPROVED")))
    found = made.complete(payment(provider_ref="5O190127TN364715T"))
    assert found.state is PaymentState.REQUIRES_ACTION
    assert found.next_action == {"type": "redirect", "url": page}


def test_declined_but_meanwhile_paid() -> None:
    made, _http = adapter(error(422, "INSTRUMENT_DECLINED"), answer(order(captures=[capture()])), NO_DISPUTES)
    assert made.complete(payment(provider_ref="5O190127TN364715T")).state is PaymentState.SUCCEEDED


def test_declined_with_nowhere_to_go() -> None:
    made, _http = adapter(error(422, "PAYER_ACTION_REQUIRED"), answer(order("APPROVED")))
    found = made.complete(payment(provider_ref="5O190127TN364715T"))
    assert found.state is PaymentState.FAILED
    assert found.failure is not None
    assert found.failure.code == "authentication_required"


@pytest.mark.parametrize(
    ("issue", "state", "code"),
    [
        ("DUPLICATE_INVOICE_ID", PaymentState.FAILED, "duplicate_reference"),
        ("ORDER_EXPIRED", PaymentState.EXPIRED, "payment_expired"),
    ],
)
def test_a_refusal_stands_where_the_order_still_waits(issue: str, state: PaymentState, code: str) -> None:
    made, _http = adapter(error(422, issue), answer(order("APPROVED")))
    found = made.complete(payment(provider_ref="5O190127TN364715T"))
    assert found.state is state
    assert found.failure is not None
    assert found.failure.code == code


def test_a_payer_who_agreed_just_now() -> None:
    made, _http = adapter(error(422, "ORDER_NOT_APPROVED"), answer(order("APPROVED")))
    assert made.complete(payment(provider_ref="5O190127TN364715T")).state is PaymentState.APPROVED


@pytest.mark.parametrize(
    "refused",
    [
        error(422, "ORDER_COMPLETION_IN_PROGRESS"),
        error(422, "ORDER_ALREADY_CAPTURED"),
        error(404, "INVALID_RESOURCE_ID", "RESOURCE_NOT_FOUND"),
    ],
)
def test_answers_that_contradict_each_other(refused: Reply) -> None:
    made, _http = adapter(refused, answer(order("APPROVED")))
    with pytest.raises(Undecided):
        made.complete(payment(provider_ref="5O190127TN364715T"))


def test_twice_refused_credentials() -> None:
    token = answer({"access_token": "new", "token_type": "Bearer", "expires_in": 32400})
    refused = error(401, name="AUTHENTICATION_FAILURE")
    made, http = adapter(refused, token, refused)
    with pytest.raises(AuthenticationFailed):
        made.complete(payment(provider_ref="5O190127TN364715T"))
    first, _token, second = http.sent
    assert first["headers"]["PayPal-Request-Id"] == second["headers"]["PayPal-Request-Id"]
    assert (first["headers"]["Authorization"], second["headers"]["Authorization"]) == ("Bearer stored-token", "Bearer new")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"access_token":"a b","expires_in":5}',
        b'{"access_token":"a","expires_in":0}',
        b'{"access_token":1e999}',
    ],
)
def test_a_token_that_can_not_be_read(body: bytes) -> None:
    made, _http = adapter(error(401), Reply(200, {}, body, 1))
    with pytest.raises(ProviderUnavailable):
        made.payment_status(QUERY)


@pytest.mark.parametrize(
    "body",
    [
        {**order(), "purchase_units": []},
        {**order(), "purchase_units": "none"},
        order(captures=[{"id": "X"}]),
        order(captures=[capture(value="1.234")]),
        order(captures=[capture(amount={"currency_code": "usd", "value": "1.00"})]),
        order(authorizations={"id": "X"}),
    ],
)
def test_an_order_that_can_not_be_read_is_asked_for_later(body: dict[str, Any]) -> None:
    made, _http = adapter(answer(body))
    with pytest.raises(ProviderUnavailable):
        made.payment_status(QUERY)


def test_disputes_of_each_capture_are_read_whole() -> None:
    listed = answer({"items": [{"dispute_id": "PP-D-1"}]})
    whole = answer(
        {
            **fixture("event_dispute_created.json")["resource"],
            "dispute_id": "PP-D-1",
            "dispute_life_cycle_stage": "CHARGEBACK",
            "status": "UNDER_REVIEW",
        }
    )
    made, http = adapter(answer(order(captures=[capture()])), listed, whole)
    found = made.payment_status(QUERY).disputes
    assert found is not None
    assert [(each.provider_ref, each.state, each.withdrawn) for each in found] == [("PP-D-1", DisputeState.UNDER_REVIEW, True)]
    assert http.sent[1]["query"] == {"disputed_transaction_id": "29Y24445UY2083144", "page_size": "20"}


@pytest.mark.parametrize(
    ("changed", "state", "withdrawn"),
    [
        ({}, DisputeState.INQUIRY, False),
        ({"status": "RESOLVED", "dispute_outcome": {"outcome_code": "CANCELED_BY_BUYER"}}, DisputeState.CLOSED, False),
        ({"status": "RESOLVED", "dispute_outcome": {"outcome_code": "ACCEPTED"}}, DisputeState.LOST, True),
        ({"status": "RESOLVED", "dispute_outcome": {"outcome_code": "RESOLVED_WITH_PAYOUT"}}, DisputeState.WON, False),
        (
            {
                "status": "RESOLVED",
                "dispute_life_cycle_stage": "CHARGEBACK",
                "dispute_outcome": {"outcome_code": "CANCELED_BY_BUYER"},
            },
            DisputeState.WON,
            False,
        ),
        ({"status": "OPEN", "dispute_life_cycle_stage": "CHARGEBACK"}, DisputeState.NEEDS_RESPONSE, True),
        ({"status": "OTHER", "dispute_life_cycle_stage": "ARBITRATION"}, DisputeState.UNDER_REVIEW, True),
    ],
)
def test_what_a_dispute_says(changed: dict[str, Any], state: DisputeState, withdrawn: bool) -> None:
    found = reading.dispute(Wire({**fixture("event_dispute_created.json")["resource"], **changed}))
    assert (found.state, found.withdrawn, found.money) == (state, withdrawn, Money(300, "USD"))


@pytest.mark.parametrize(("moves", "withdrawn"), [(["DEBIT"], True), (["DEBIT", "CREDIT"], False), ([], False)])
def test_money_movements_decide_where_the_money_is(moves: list[str], withdrawn: bool) -> None:
    movements = [
        {"affected_party": "SELLER", "type": each, "amount": {"currency_code": "USD", "value": "3.00"}} for each in moves
    ]
    movements.append({"affected_party": "BUYER", "type": "DEBIT", "amount": {"currency_code": "USD", "value": "3.00"}})
    body = {**fixture("event_dispute_created.json")["resource"], "dispute_life_cycle_stage": "CHARGEBACK"}
    assert reading.dispute(Wire({**body, "money_movements": movements})).withdrawn is withdrawn


def test_the_documented_refund() -> None:
    found = reading.refund(Wire(fixture("refund.json")))
    assert found.provider_ref == found.receipt == "55105082X5896632E"
    assert (found.money, found.state, found.operation_id) == (Money(1_000, "USD"), RefundState.SUCCEEDED, "1644280607")


def test_the_documented_capture() -> None:
    found = reading.capture(Wire(fixture("event_capture_completed.json")["resource"]))
    assert (found.provider_ref, found.money, found.fee) == ("29Y24445UY2083144", Money(10_000, "USD"), Money(398, "USD"))


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_a_refund_that_came_to_nothing(status: str) -> None:
    made, _http = adapter(answer({**fixture("refund.json"), "status": status}))
    found = made.refund_status(refund("29Y24445UY2083144", 1_000, provider_ref="55105082X5896632E"))
    assert found.state is RefundState.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.provider_code) == ("refund_failed_later", status)


def test_a_refund_in_a_state_that_nobody_knows() -> None:
    made, _http = adapter(answer({**fixture("refund.json"), "status": "SOMETHING_NEW"}, 201))
    found = made.refund(refund("29Y24445UY2083144", 1_000))
    assert found.state is RefundState.UNKNOWN
    assert found.failure is not None
    assert found.failure.provider_code == "SOMETHING_NEW"


def test_ids_from_outside_stay_one_part_of_the_path() -> None:
    made, http = adapter(error(404, "INVALID_RESOURCE_ID", "RESOURCE_NOT_FOUND"))
    made.payment_status(PaymentQuery("pay_1", "../../v1/oauth2?x=1#", Money(100, "USD")))
    assert http.sent[0]["url"] == "/v2/checkout/orders/..%2F..%2Fv1%2Foauth2%3Fx%3D1%23"


def test_request_ids_differ_by_step_and_keep_paypals_limit() -> None:
    assert request_id("op_1", "order") != request_id("op_1", "complete")
    assert len(request_id("x" * 300, "complete")) == 108


def test_every_issue_has_a_meaning_of_the_vocabulary() -> None:
    assert set(codes.ISSUES.values()) | set(codes.STATUSES.values()) <= set(VOCABULARY)
    assert codes.failure_of("NEVER_HEARD_OF").code == "gateway_refused"
    assert codes.failure_of("NEVER_HEARD_OF").provider_code == "NEVER_HEARD_OF"


def test_what_the_payer_is_called() -> None:
    assert reading.shown_payer("amina@example.com") == "PayPal a•••@example.com"
    assert reading.shown_payer("") == "PayPal"
    assert reading.moment(Wire({"at": "2026-07-10T09:15:26Z"}), "at") == NOW
    assert reading.moment(Wire({"at": "2026-07-10T09:15:26"}), "at") is None
    assert reading.moment(Wire({"at": "soon"}), "at") is None
