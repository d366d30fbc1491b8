"""What is sent, exactly, and what answers mean: no network, scripted replies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    Conflict,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
    UnsupportedOperation,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentState, RefundState
from integrations.contracts.payment_features import MethodType
from integrations.contracts.wire import WireError
from integrations.providers.stripe.adapter import STRIPE_SOURCES
from integrations.providers.stripe.tests.support import (
    KEY,
    PAYMENT,
    RETURN,
    SECRET_KEY,
    RecordingHttp,
    adapter,
    capture,
    fixture,
    payment,
    query,
    refund,
    setup,
    view,
    void,
)

PI: dict[str, Any] = fixture("payment_intent")
REF = PI["id"]
EXPAND = {"expand[0]": "latest_charge.balance_transaction"}


def error(kind: str, **more: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "message": "Text of Stripe's.", **more}}


# --- requests


def test_authorize_as_it_is_sent(http: RecordingHttp) -> None:
    http.answer({**PI, "status": "requires_capture"})
    request = payment(capture=False, reference="INV-7", description="School fees", money=Money(5_120, "KWD"))
    adapter(http, view(statement_suffix="FEES", connected_account="acct_1abc")).authorize(request)
    (sent,) = http.calls
    assert (sent["method"], sent["url"], sent["operation"], sent["safe"]) == (
        "POST", "https://api.stripe.com/v1/payment_intents", "authorize", False,
    )  # fmt: skip
    assert sent["form"] == {
        "amount": "5120", "currency": "kwd", "payment_method_types[0]": "card", "capture_method": "manual",
        "metadata[payment_id]": PAYMENT, "metadata[operation_id]": KEY, "metadata[reference]": "INV-7",
        "description": "School fees", "statement_descriptor_suffix": "FEES", "payment_method": "pm_card_visa",
        "confirm": "true", "return_url": RETURN, **EXPAND,
    }  # fmt: skip
    headers = sent["headers"]
    assert {name: headers[name] for name in ("Authorization", "Idempotency-Key", "Stripe-Version", "Stripe-Account")} == {
        "Authorization": f"Bearer {SECRET_KEY}", "Idempotency-Key": KEY, "Stripe-Version": "2023-10-16",
        "Stripe-Account": "acct_1abc",
    }  # fmt: skip
    about = json.loads(headers["X-Stripe-Client-User-Agent"])
    assert "platform" not in about
    assert "telemetry_id" not in about
    assert "X-Stripe-Client-Telemetry" not in headers


def test_a_stored_card_and_the_page_as_they_are_sent(http: RecordingHttp) -> None:
    http.answer({**PI, "status": "succeeded", "amount_received": 1099})
    http.answer(PI)
    adapter(http).authorize(payment(token="pm_1", customer_ref="cus_1", off_session=True))
    adapter(http, view(publishable_key="pk_test_12345")).authorize(payment(method=MethodType.REDIRECT, token=""))
    stored, page = (call["form"] for call in http.calls)
    assert (stored["customer"], stored["off_session"], stored["confirm"]) == ("cus_1", "true", "true")
    assert "return_url" not in stored
    assert not {"confirm", "payment_method", "return_url"} & set(page)
    assert [call["safe"] for call in http.calls] == [False, True]


def test_capture_void_and_refund_as_they_are_sent(http: RecordingHttp) -> None:
    http.answer({**PI, "status": "requires_capture"})
    http.answer({**PI, "status": "canceled"})
    http.answer(fixture("refund"))
    stripe = adapter(http, view(multicapture=True))
    stripe.capture(capture("pi_1", 60_000, final=False))
    stripe.void(void("pi_1", abandoned=True))
    stripe.refund(refund("pi_1", 500, reason="duplicate"))
    assert [(call["url"].partition("/v1/")[2], call["headers"]["Idempotency-Key"]) for call in http.calls] == [
        ("payment_intents/pi_1/capture", "op_capture1"), ("payment_intents/pi_1/cancel", "op_void1"), ("refunds", "re_ours1"),
    ]  # fmt: skip
    assert [call["form"] for call in http.calls] == [
        {"amount_to_capture": "60000", "metadata[capture_op_capture1]": "60000", "final_capture": "false", **EXPAND},
        {"cancellation_reason": "abandoned"},
        {"payment_intent": "pi_1", "amount": "500", "reason": "duplicate", "metadata[operation_id]": "re_ours1",
         "metadata[payment_id]": PAYMENT},
    ]  # fmt: skip
    assert [call["safe"] for call in http.calls] == [False, False, False]


def test_a_single_capture_says_nothing_of_finality(http: RecordingHttp) -> None:
    http.answer(PI)
    adapter(http).capture(capture("pi_1", final=False))
    assert "final_capture" not in http.calls[0]["form"]


def test_status_reads_the_lists_page_by_page(http: RecordingHttp) -> None:
    captured = {
        **fixture("charge"),
        "id": "ch_1",
        "amount": 1099,
        "amount_captured": 1099,
        "amount_refunded": 200,
        "disputed": True,
    }
    http.answer({**PI, "status": "succeeded", "amount_received": 1099, "latest_charge": captured})
    row = {**fixture("refund"), "balance_transaction": "txn_1"}
    http.answer({"object": "list", "data": [{**row, "id": "re_1"}], "has_more": True})
    http.answer({"object": "list", "data": [{**row, "id": "re_2", "status": "pending"}], "has_more": False})
    http.answer({"object": "list", "data": [fixture("dispute")], "has_more": False})
    found = adapter(http).payment_status(query(REF))
    assert found.refunds is not None
    assert [(each.provider_ref, each.state) for each in found.refunds] == [
        ("re_1", RefundState.SUCCEEDED), ("re_2", RefundState.PROCESSING),
    ]  # fmt: skip
    assert found.disputes is not None
    assert len(found.disputes) == 1
    paths = [call["url"].partition("/v1/")[2] for call in http.calls]
    assert paths == [
        f"payment_intents/{REF}?expand[0]=latest_charge.balance_transaction",
        f"refunds?limit=100&payment_intent={REF}",
        f"refunds?limit=100&payment_intent={REF}&starting_after=re_1",
        f"disputes?limit=100&payment_intent={REF}",
    ]
    assert all(call["safe"] for call in http.calls)


def test_a_list_without_an_end_concludes_nothing(http: RecordingHttp) -> None:
    for _ in range(50):
        http.answer({"object": "list", "data": [{**PI, "metadata": {}}], "has_more": True})
    with pytest.raises(ProviderUnavailable):
        adapter(http).payment_status(query(""))


# --- errors


@pytest.mark.parametrize(
    ("status", "body", "expected", "code"),
    [
        (401, error("invalid_request_error"), AuthenticationFailed, "invalid_request_error"),
        (403, error("invalid_request_error", code="account_invalid"), AuthenticationFailed, "account_invalid"),
        (404, error("invalid_request_error", code="resource_missing", param="id"), NotFound, "resource_missing"),
        (400, error("invalid_request_error", code="parameter_unknown", param="x"), InvalidRequest, "parameter_unknown"),
        (400, error("invalid_request_error"), InvalidRequest, "invalid_request_error"),
        (409, error("idempotency_error", code="idempotency_key_in_use"), Undecided, "idempotency_key_in_use"),
        (400, error("idempotency_error"), OutcomeUnknown, "idempotency_error"),
        (429, error("invalid_request_error", code="rate_limit"), RateLimited, "rate_limit"),
        (429, error("invalid_request_error", code="lock_timeout"), RateLimited, "lock_timeout"),
        (429, b"slow down", RateLimited, "429"),
        (424, error("api_error"), Undecided, "api_error"),
        (500, error("api_error"), Undecided, "api_error"),
        (502, b"<html>Bad gateway</html>", Undecided, "502"),
        (503, b"", Undecided, "503"),
        (200, b"<html>", Undecided, "bad_reply"),
        (200, b"[]", Undecided, "bad_reply"),
        (200, b"\xff\xfe", Undecided, "bad_reply"),
        (302, b"", Undecided, "bad_reply"),
        (400, b"no json", Undecided, "bad_reply"),
        (400, {"error": "a text"}, Undecided, "bad_reply"),
    ],
)
def test_errors_by_meaning(http: RecordingHttp, status: int, body: Any, expected: type[ProviderError], code: str) -> None:
    http.answer(body, status)
    with pytest.raises(ProviderError) as caught:
        adapter(http).authorize(payment())
    assert (type(caught.value), caught.value.provider_code) == (expected, code)
    assert SECRET_KEY not in caught.value.message
    assert len(http.calls) == 1, "nothing is tried twice here"


@pytest.mark.parametrize("status", [500, 502, 424, 409, 302])
def test_a_question_may_be_asked_again(http: RecordingHttp, status: int) -> None:
    http.answer(b"", status)
    with pytest.raises(ProviderUnavailable):
        adapter(http).payment_status(query(REF))


def test_no_answer_at_all(http: RecordingHttp) -> None:
    http.replies = [OutcomeUnknown("cut"), ProviderUnavailable("no connection"), OutcomeUnknown("cut")]
    with pytest.raises(Undecided):
        adapter(http).authorize(payment())
    with pytest.raises(ProviderUnavailable):
        adapter(http).authorize(payment())
    with pytest.raises(Undecided):
        adapter(http).refund(refund("pi_1"))


@pytest.mark.parametrize(
    ("body", "code", "kind"),
    [
        (error("card_error", code="card_declined", decline_code="insufficient_funds"), "insufficient_funds", "card_error"),
        (error("card_error", code="card_declined", decline_code="never_heard_of"), "declined", "card_error"),
        (error("card_error", code="brand_new_code"), "declined", "card_error"),
        (error("card_error", code="card_declined", decline_code="processing_error"), "processing_error", "api_error"),
    ],
)
def test_declines_are_results(http: RecordingHttp, body: dict[str, Any], code: str, kind: str) -> None:
    http.answer(body, 402)
    result = adapter(http).authorize(payment())
    assert result.state is PaymentState.FAILED
    assert result.failure is not None
    assert (result.failure.code, result.failure.type, result.failure.message) == (code, kind, "Text of Stripe's.")


@pytest.mark.parametrize(
    ("code", "ours"),
    [("amount_too_small", "amount_too_small"), ("amount_too_large", "amount_too_large"), ("account_closed", "account_state")],
)
def test_refusals_with_a_known_meaning_are_results(http: RecordingHttp, code: str, ours: str) -> None:
    http.answer(error("invalid_request_error", code=code), 400)
    failure = adapter(http).authorize(payment()).failure
    assert failure is not None
    assert (failure.code, failure.provider_code) == (ours, code)
    assert failure.message != "Text of Stripe's.", "only card errors are worded for payers"


def test_a_capture_that_stripe_refuses_by_card(http: RecordingHttp) -> None:
    http.answer(error("card_error", code="card_declined", decline_code="generic_decline"), 402)
    result = adapter(http).capture(capture("pi_1"))
    assert result.state is RefundState.FAILED
    assert result.failure is not None
    assert result.failure.code == "declined"


# --- states


@pytest.mark.parametrize(
    ("members", "method", "state"),
    [
        ({"status": "requires_payment_method"}, MethodType.REDIRECT, PaymentState.REQUIRES_ACTION),
        ({"status": "requires_payment_method"}, MethodType.CARD, PaymentState.UNKNOWN),
        ({"status": "requires_payment_method", "last_payment_error": error("card_error")["error"]}, MethodType.CARD,
         PaymentState.FAILED),
        ({"status": "requires_confirmation"}, MethodType.CARD, PaymentState.UNKNOWN),
        ({"status": "requires_action"}, MethodType.CARD, PaymentState.REQUIRES_ACTION),
        ({"status": "processing"}, MethodType.CARD, PaymentState.PROCESSING),
        ({"status": "requires_capture"}, MethodType.CARD, PaymentState.AUTHORIZED),
        ({"status": "succeeded"}, MethodType.CARD, PaymentState.SUCCEEDED),
        ({"status": "canceled"}, MethodType.CARD, PaymentState.CANCELLED),
        ({"status": "canceled", "cancellation_reason": "automatic"}, MethodType.CARD, PaymentState.EXPIRED),
        ({"status": "partially_funded"}, MethodType.CARD, PaymentState.UNKNOWN),
    ],
)  # fmt: skip
def test_states(http: RecordingHttp, members: dict[str, Any], method: MethodType, state: PaymentState) -> None:
    http.answer({**PI, **members})
    found = adapter(http).payment_status(query(REF, method=method))
    assert (found.state, found.provider_code) == (state, members["status"])
    assert (found.refunds, found.disputes, found.captures) == ((), (), ())


@pytest.mark.parametrize(
    "members",
    [{"amount": "x"}, {"amount": None}, {"currency": 5}, {"currency": "dollars"}, {"id": None}, {"status": None},
     {"amount_capturable": "many"}],
)  # fmt: skip
def test_unreadable_payments(http: RecordingHttp, members: dict[str, Any]) -> None:
    http.answer({**PI, **members})
    with pytest.raises(WireError):
        adapter(http).payment_status(query(REF))


@pytest.mark.parametrize("strange", [None, 5, "x", [], {"card": None}, {"card": {"last4": None}}])
def test_what_is_only_shown_may_be_strange(http: RecordingHttp, strange: Any) -> None:
    charge = {**fixture("charge"), "payment_method_details": strange, "billing_details": strange, "disputed": False}
    http.answer({**PI, "status": "requires_capture", "latest_charge": charge})
    http.answer({"object": "list", "data": [], "has_more": False})
    found = adapter(http).payment_status(query(REF))
    assert (found.state, found.method_detail, found.expires_at) == (PaymentState.AUTHORIZED, "", None)


# --- features, the page, the connection


def test_features_follow_the_config() -> None:
    stripe = type(adapter(RecordingHttp()))
    plain, full = (
        stripe.features_for(view()),
        stripe.features_for(view(multicapture=True, ugx_decimals="0", publishable_key="pk_test_12345")),
    )
    assert "multiple_capture" not in plain.operations
    assert full.operations - plain.operations == {"multiple_capture"}
    assert (plain.methods, full.methods) == ({MethodType.CARD}, {MethodType.CARD, MethodType.REDIRECT})
    assert set(full.currencies) - set(plain.currencies) == {"UGX"}


@pytest.mark.parametrize(
    ("environment", "key"), [(Environment.PRODUCTION, "pk_live_12345"), (Environment.SANDBOX, "pk_test_12345")]
)
def test_the_page_loads_stripes_own_script(http: RecordingHttp, environment: Environment, key: str) -> None:
    http.answer(PI)
    page = adapter(http, view(environment, publishable_key=key)).payer_page(query(REF))
    assert (page.context["script_url"], page.sources) == ("https://js.stripe.com/v3/", STRIPE_SOURCES)
    assert page.context["stripe"] == {
        "publishable_key": key, "client_secret": PI["client_secret"], "account": "", "kind": "payment",
    }  # fmt: skip
    assert PI["client_secret"] not in repr(page)


def test_no_page_without_a_key_or_a_waiting_payment(http: RecordingHttp) -> None:
    with pytest.raises(UnsupportedOperation):
        adapter(http).payer_page(query(REF))
    http.answer({**PI, "status": "succeeded"})
    with pytest.raises(Conflict):
        adapter(http, view(publishable_key="pk_test_12345")).payer_page(query(REF))


def test_a_key_of_the_other_mode_fails_the_connection_test(http: RecordingHttp) -> None:
    http.answer(fixture("account"))
    http.answer({**fixture("balance"), "livemode": True})
    found = adapter(http).test_connection()
    assert (found.ok, found.status) == (False, "wrong_mode")
    assert all(call["safe"] for call in http.calls)


def test_ids_that_are_none_never_become_a_path(http: RecordingHttp) -> None:
    for act in (
        lambda: adapter(http).payment_status(query("pi_1/../../refunds")),
        lambda: adapter(http).void(void("")),
        lambda: adapter(http).refund(refund("ch_1")),
        lambda: adapter(http).setup_status(setup(provider_ref="pi_1")),
    ):
        with pytest.raises(InvalidRequest):
            act()
    assert http.calls == []
