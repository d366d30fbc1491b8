"""The machine that holds exchanges against vendors' descriptions, proved on descriptions of providers yet to come."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.vendor_specs.loader import FORM, Description, SpecViolation, description_of, specs_folder

ACCOUNT = "AC" + "0a" * 16
SID = "SM" + "1b" * 16
MESSAGES = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
pytestmark = pytest.mark.skipif(specs_folder() is None, reason="no vendors' API descriptions here (VENDOR_SPECS)")


def load(slug: str) -> Description:
    found = description_of(slug)
    assert found is not None
    return found


def request(slug: str, method: str, path: str, form: Any = None, query: str = "", kind: str = FORM) -> None:
    body = urlencode(form).encode() if form is not None else b""
    load(slug).check_request(method, path, query, kind if body else "", body)


def answer(slug: str, method: str, path: str, status: int, value: Any) -> None:
    load(slug).check_answer(method, path, status, "application/json", json.dumps(value).encode())


# --- Twilio: flat forms, closed requests, open answers

SEND = {"To": "+254712345678", "From": "+15005550006", "Body": "Hello"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"StatusCallback": "https://hub.example/x"},
        {"ValidityPeriod": "600"},
        {"ProvideFeedback": "true"},
        {"MediaUrl": "https://hub.example/a.png"},
    ],
)
def test_twilio_requests_that_are_right(more: dict[str, str]) -> None:
    request("twilio", "POST", MESSAGES, SEND | more)


def test_a_repeated_form_name_is_a_list() -> None:
    pairs = [*SEND.items(), ("MediaUrl", "https://a.example/1"), ("MediaUrl", "https://a.example/2")]
    request("twilio", "POST", MESSAGES, pairs)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"StatusCalback": "https://hub.example/x"}, "StatusCalback"),
        ({"ValidityPeriod": "ten"}, "ValidityPeriod"),
        ({"ProvideFeedback": "yes"}, "ProvideFeedback"),
        ({"ApplicationSid": "short"}, "ApplicationSid"),
        ({"ScheduleType": "sometime"}, "ScheduleType"),
    ],
)
def test_twilio_requests_that_are_wrong(more: dict[str, str], said: str) -> None:
    with pytest.raises(SpecViolation, match=said):
        request("twilio", "POST", MESSAGES, SEND | more)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Message.json"),
        ("PUT", MESSAGES),
        ("POST", MESSAGES + "/"),
        ("GET", "/"),
    ],
)
def test_a_path_or_method_that_is_not_described(method: str, path: str) -> None:
    with pytest.raises(SpecViolation, match="is not described"):
        request("twilio", method, path, SEND)


def test_path_and_query_parameters_are_checked() -> None:
    request("twilio", "GET", MESSAGES, query="PageSize=50&To=%2B254712345678")
    for query, said in (
        ("PageSize=many", "PageSize"),
        ("PageSize=5000", "PageSize"),
        ("Pagesize=5", "not described: Pagesize"),
    ):
        with pytest.raises(SpecViolation, match=said):
            request("twilio", "GET", MESSAGES, query=query)
    with pytest.raises(SpecViolation, match="AccountSid"):
        request("twilio", "GET", "/2010-04-01/Accounts/school/Messages.json")


def test_a_body_of_another_type_is_refused() -> None:
    with pytest.raises(SpecViolation, match="application/json"):
        load("twilio").check_request("POST", MESSAGES, "", "application/json", json.dumps(SEND).encode())


MESSAGE = {"sid": SID, "account_sid": ACCOUNT, "status": "queued", "to": "+254712345678", "body": "Hello", "error_code": None}


def test_twilio_answers_that_are_right() -> None:
    answer("twilio", "POST", MESSAGES, 201, MESSAGE)
    answer("twilio", "POST", MESSAGES, 201, {**MESSAGE, "brand_new_member": 1})


@pytest.mark.parametrize(
    ("change", "said"),
    [({"status": "quued"}, "status"), ({"error_code": "30007"}, "error_code"), ({"sid": "SM1"}, "sid"), ({"body": 5}, "body")],
)
def test_twilio_answers_that_are_wrong(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecViolation, match=said):
        answer("twilio", "POST", MESSAGES, 201, MESSAGE | change)


def test_statuses() -> None:
    for status in (401, 409, 429, 500, 503):
        answer("twilio", "POST", MESSAGES, status, {"anything": 1})
    for status in (200, 202, 400, 404):
        with pytest.raises(SpecViolation, match="status is not described"):
            answer("twilio", "POST", MESSAGES, status, MESSAGE)


def test_an_answer_that_is_no_json_or_of_another_type() -> None:
    with pytest.raises(SpecViolation, match="not JSON"):
        load("twilio").check_answer("POST", MESSAGES, 201, "application/json; charset=utf-8", b"<html>")
    with pytest.raises(SpecViolation, match="text/html"):
        load("twilio").check_answer("POST", MESSAGES, 201, "text/html", b"<html>")


# --- Stripe: nested forms, deep references, literal segments before variables

INTENT = [("amount", "150000"), ("currency", "kes")]


@pytest.mark.parametrize(
    "more",
    [
        [],
        [("automatic_payment_methods[enabled]", "true")],
        [("payment_method_types[]", "card"), ("payment_method_types[]", "link")],
        [("payment_method_types[0]", "card")],
        [("metadata[payment]", "pay_1"), ("metadata[amount]", "150000")],
        [("shipping[name]", "Jane"), ("shipping[address][city]", "Nairobi")],
        [("expand[]", "latest_charge")],
        [("confirm", "true"), ("off_session", "true")],
        [("capture_method", "manual")],
    ],
)
def test_stripe_requests_that_are_right(more: list[tuple[str, str]]) -> None:
    request("stripe", "POST", "/v1/payment_intents", INTENT + more)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ([("amount", "150000")], "currency"),
        ([("amount", "1500.00"), ("currency", "kes")], "amount"),
        ([*INTENT, ("captuer_method", "manual")], "captuer_method"),
        ([*INTENT, ("capture_method", "by hand")], "capture_method"),
        ([*INTENT, ("automatic_payment_methods[enable]", "true")], "automatic_payment_methods"),
        ([*INTENT, ("shipping[address][city]", "Nairobi")], "shipping"),
        ([*INTENT, ("shipping", "Nairobi")], "shipping"),
        ([*INTENT, ("metadata", "x")], "metadata"),
        ([*INTENT, ("confirm", "1")], "confirm"),
    ],
)
def test_stripe_requests_that_are_wrong(form: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(SpecViolation, match=said):
        request("stripe", "POST", "/v1/payment_intents", form)


def test_literal_segments_go_before_variables() -> None:
    stripe = load("stripe")
    assert stripe.match("GET", "/v1/payment_intents/search")[0].template == "/v1/payment_intents/search"
    operation, values = stripe.match("GET", "/v1/payment_intents/pi_1")
    assert (operation.template, values) == ("/v1/payment_intents/{intent}", {"intent": "pi_1"})


def test_deep_query_parameters() -> None:
    request("stripe", "GET", "/v1/payment_intents", query="created[gte]=1700000000&limit=3&expand[]=data.customer")
    for query in ("created[gte]=yesterday", "limit=three", "created[since]=1&limitt=1"):
        with pytest.raises(SpecViolation):
            request("stripe", "GET", "/v1/payment_intents", query=query)


def fixture(name: str) -> dict[str, Any]:
    folder = specs_folder()
    assert folder is not None
    found: dict[str, Any] = json.loads((folder / "stripe-fixtures.json").read_text("utf-8"))["resources"][name]
    return found


def test_stripe_answers() -> None:
    intent = fixture("payment_intent")
    answer("stripe", "GET", "/v1/payment_intents/pi_1", 200, intent)
    answer("stripe", "GET", "/v1/payment_intents/pi_1", 404, {"error": {"type": "invalid_request_error", "message": "No such"}})
    wrong = {
        "amount": {**intent, "amount": "150000"},
        "status": {**intent, "status": "succeded"},
        "currency": {key: value for key, value in intent.items() if key != "currency"},
        "object": {**intent, "object": "charge"},
    }
    for name, value in wrong.items():
        with pytest.raises(SpecViolation, match=name):
            answer("stripe", "GET", "/v1/payment_intents/pi_1", 200, value)


def test_webhook_payloads_are_held_against_a_component() -> None:
    event = fixture("event")
    load("stripe").check_component("event", event)
    with pytest.raises(SpecViolation, match="created"):
        load("stripe").check_component("event", {**event, "created": "today"})


# --- the rest


def test_providers_without_a_description_have_none() -> None:
    assert description_of("mpesa") is None
    assert description_of("africastalking") is None
    assert description_of("google-calendar") is None, "a discovery document is no OpenAPI"


@pytest.mark.parametrize("slug", ["flutterwave", "hubspot", "mailgun", "paypal", "sendgrid", "stripe", "twilio", "whatsapp"])
def test_every_openapi_file_loads(slug: str) -> None:
    assert load(slug).operations
