"""The simulator by itself, with plain requests: what PayPal would answer to a client less careful than the hub."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from integrations.providers.paypal.tests.client import Client, body_of, issue
from integrations.providers.paypal.tests.hub import DAY, PAYMENT, Hub, payment

HOUR = 3600.0


@pytest.fixture
def client(school: Hub) -> Client:
    return Client(school)


def test_tokens(school: Hub, client: Client) -> None:
    url = f"{school.base_url}/v1/oauth2/token"
    wrong = requests.post(url, data={"grant_type": "client_credentials"}, auth=("a", "b"), timeout=5)
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    client.token = "A21AAinvented"
    refused = client.order()
    assert (refused.status_code, refused.json()["name"]) == (401, "AUTHENTICATION_FAILURE")
    fresh = Client(school)
    school.clock.advance(32_400)
    assert fresh.order().status_code == 401
    assert school.money() == []


def test_minimal_and_whole_answers(client: Client) -> None:
    short = client.order()
    assert short.status_code == 201
    assert set(short.json()) == {"id", "status", "payment_source", "links"}
    assert short.headers["PayPal-Debug-Id"]
    whole = client.order(Prefer="return=representation").json()
    assert whole["purchase_units"][0]["amount"] == {"currency_code": "USD", "value": "100.00"}
    assert [each["rel"] for each in whole["links"]] == ["self", "payer-action"]


def test_without_a_payment_source_the_link_is_approve(client: Client) -> None:
    body = {name: value for name, value in body_of("1.00").items() if name != "payment_source"}
    made = client.call("POST", "/v2/checkout/orders", body).json()
    assert made["status"] == "CREATED"
    assert "approve" in [each["rel"] for each in made["links"]]


def test_request_ids(school: Hub, client: Client) -> None:
    first = client.order(PayPal_Request_Id="k1")
    replay = client.order(PayPal_Request_Id="k1")
    assert (first.status_code, replay.status_code) == (201, 200)
    assert first.json()["id"] == replay.json()["id"]
    school.payer(first.json()["id"])
    assert client.order(PayPal_Request_Id="k1").json()["status"] == "APPROVED"
    assert client.order("100.01", PayPal_Request_Id="k1").status_code == 422
    assert (
        client.call("POST", f"/v2/checkout/orders/{first.json()['id']}/capture", {}, PayPal_Request_Id="k1").status_code == 422
    )
    assert len(school.money()) == 1
    client.order()
    client.order()
    assert len(school.money()) == 3, "without the header everything is executed again"
    school.clock.advance(6 * HOUR)
    assert client.order(PayPal_Request_Id="k1").status_code == 201
    assert len(school.money()) == 4, "kept for six hours"


def test_captures_without_a_key_are_made_twice(school: Hub, client: Client) -> None:
    order = client.approved("AUTHORIZE")
    made = client.call("POST", f"/v2/checkout/orders/{order}/authorize", {}, Prefer="return=representation").json()
    hold = made["purchase_units"][0]["payments"]["authorizations"][0]["id"]
    body = {"amount": {"currency_code": "USD", "value": "30.00"}}
    for _ in range(2):
        assert client.call("POST", f"/v2/payments/authorizations/{hold}/capture", body).status_code == 201
    assert school.money()[0]["captured"] == 6_000


@pytest.mark.parametrize(
    ("value", "currency", "status", "expected"),
    [
        ("10.001", "USD", 422, "DECIMAL_PRECISION"),
        ("10.5", "JPY", 422, "DECIMAL_PRECISION"),
        ("0", "USD", 422, "CANNOT_BE_ZERO_OR_NEGATIVE"),
        ("-1.00", "USD", 422, "CANNOT_BE_ZERO_OR_NEGATIVE"),
        ("10.00", "KES", 422, "INVALID_CURRENCY_CODE"),
        ("10,00", "USD", 400, "INVALID_PARAMETER_SYNTAX"),
        ("1" * 33, "USD", 400, "INVALID_PARAMETER_SYNTAX"),
    ],
)
def test_amounts_are_checked(school: Hub, client: Client, value: str, currency: str, status: int, expected: str) -> None:
    refused = client.order(value, currency)
    assert (refused.status_code, issue(refused)) == (status, expected)
    assert school.money() == []


@pytest.mark.parametrize(
    "changed",
    [
        {"intent": "SALE"},
        {"purchase_units": []},
        {"purchase_units": [{}]},
        {"purchase_units": [{"amount": {"currency_code": "USD", "value": "1.00"}, "soft_descriptor": "x" * 23}]},
    ],
)
def test_requests_are_checked(school: Hub, client: Client, changed: dict[str, Any]) -> None:
    refused = client.call("POST", "/v2/checkout/orders", {**body_of("1.00"), **changed})
    assert (refused.status_code, refused.json()["name"]) == (400, "INVALID_REQUEST")
    assert school.money() == []


def test_running_before_approval_and_with_the_wrong_intent(school: Hub, client: Client) -> None:
    order = client.order().json()["id"]
    refused = client.call("POST", f"/v2/checkout/orders/{order}/capture", {})
    assert (refused.status_code, issue(refused)) == (422, "ORDER_NOT_APPROVED")
    school.payer(order)
    wrong = client.call("POST", f"/v2/checkout/orders/{order}/authorize", {})
    assert issue(wrong) == "ACTION_DOES_NOT_MATCH_INTENT"
    assert client.call("POST", f"/v2/checkout/orders/{order}/capture", {}).status_code == 201
    assert issue(client.call("POST", f"/v2/checkout/orders/{order}/capture", {})) == "ORDER_ALREADY_CAPTURED"
    assert school.money()[0]["captured"] == 10_000


def test_the_mock_header(school: Hub, client: Client) -> None:
    order = client.approved()
    mocked = '{"mock_application_codes":"INSTRUMENT_DECLINED"}'
    refused = client.call("POST", f"/v2/checkout/orders/{order}/capture", {}, PayPal_Mock_Response=mocked)
    assert (refused.status_code, issue(refused)) == (422, "INSTRUMENT_DECLINED")
    broken = '{"mock_application_codes":"INTERNAL_SERVER_ERROR"}'
    failed = client.call("POST", f"/v2/checkout/orders/{order}/capture", {}, PayPal_Mock_Response=broken)
    assert (failed.status_code, failed.json()["name"]) == (500, "INTERNAL_SERVER_ERROR")
    assert school.money()[0]["captured"] == 0


def test_changing_an_orders_amount(school: Hub, client: Client) -> None:
    order = client.order().json()["id"]
    patch = [
        {
            "op": "replace",
            "path": "/purchase_units/@reference_id=='default'/amount",
            "value": {"currency_code": "USD", "value": "80.00"},
        }
    ]
    assert client.call("PATCH", f"/v2/checkout/orders/{order}", patch).status_code == 204
    assert school.money()[0]["asked"] == 8_000
    school.payer(order)
    patch[0]["value"] = {"currency_code": "USD", "value": "80.01"}
    assert issue(client.call("PATCH", f"/v2/checkout/orders/{order}", patch)) == "AMOUNT_CHANGE_NOT_ALLOWED"
    assert client.call("POST", f"/v2/checkout/orders/{order}/capture", {}).status_code == 201
    assert issue(client.call("PATCH", f"/v2/checkout/orders/{order}", patch)) == "ORDER_ALREADY_COMPLETED"
    assert school.money()[0]["captured"] == 8_000


def test_void_answers_nothing_or_all(client: Client) -> None:
    for prefer, status in (("return=minimal", 204), ("return=representation", 200)):
        order = client.approved("AUTHORIZE")
        made = client.call("POST", f"/v2/checkout/orders/{order}/authorize", {}, Prefer="return=representation").json()
        hold = made["purchase_units"][0]["payments"]["authorizations"][0]["id"]
        voided = client.call("POST", f"/v2/payments/authorizations/{hold}/void", Prefer=prefer)
        assert voided.status_code == status
        assert issue(client.call("POST", f"/v2/payments/authorizations/{hold}/void")) == "PREVIOUSLY_VOIDED"


def test_a_void_authorization_can_not_be_authorized_anew(school: Hub, client: Client) -> None:
    order = client.approved("AUTHORIZE")
    made = client.call("POST", f"/v2/checkout/orders/{order}/authorize", {}, Prefer="return=representation").json()
    hold = made["purchase_units"][0]["payments"]["authorizations"][0]["id"]
    again = f"/v2/payments/authorizations/{hold}/reauthorize"
    assert issue(client.call("POST", again, {})) == "REAUTHORIZATION_NOT_SUPPORTED", "within three days"
    school.clock.advance(3 * DAY)
    client.token = Client(school).token
    assert client.call("POST", again, {}).status_code == 201
    school.dashboard(PAYMENT, "void")
    assert issue(client.call("POST", again, {})) == "AUTHORIZATION_VOIDED"


# --- the payer's page


def test_the_page_does_what_its_buttons_say(school: Hub) -> None:
    started = school.adapter().authorize(payment())
    assert started.next_action is not None
    url = started.next_action["url"]
    page = requests.get(url, timeout=5)
    assert page.status_code == 200
    assert "Demo School" in page.text
    assert "100.00 USD" in page.text
    form = {"token": started.provider_ref, "action": "approve"}
    clicked = requests.post(url, data=form, timeout=5, allow_redirects=False)
    assert clicked.status_code == 303
    assert clicked.headers["Location"] == (
        f"https://hub.example/payments/return/abc?token={started.provider_ref}&PayerID=PAYERSANDBAX2"
    )
    assert requests.post(url, data=form, timeout=5, allow_redirects=False).status_code == 400
    assert requests.get(url, timeout=5).status_code == 404
    assert school.money()[0]["captured"] == 0, "approving moves nothing"


def test_the_page_cancels_and_escapes(school: Hub) -> None:
    started = school.adapter().authorize(payment(description="<script>alert(1)</script>"))
    assert started.next_action is not None
    url = started.next_action["url"]
    assert "<script>alert" not in requests.get(url, timeout=5).text
    form = {"token": started.provider_ref, "action": "cancel"}
    clicked = requests.post(url, data=form, timeout=5, allow_redirects=False)
    assert clicked.headers["Location"] == f"https://hub.example/payments/cancel/abc?token={started.provider_ref}"
    assert requests.get(url, timeout=5).status_code == 200, "he may change his mind"
    assert requests.get(f"{school.base_url}/checkoutnow?token=none", timeout=5).status_code == 404


def test_the_page_for_storing_a_payer(studio: Hub) -> None:
    begun = studio.adapter().setup(studio.setup())
    assert begun.next_action is not None
    url = begun.next_action["url"]
    assert "Demo Studio" in requests.get(url, timeout=5).text
    clicked = requests.post(url, data={"token": begun.provider_ref, "action": "approve"}, timeout=5, allow_redirects=False)
    assert clicked.headers["Location"] == f"https://hub.example/payments/return/abc?approval_token_id={begun.provider_ref}"


def test_controls_refuse_what_makes_no_sense(school: Hub) -> None:
    started = school.adapter().authorize(payment())
    assert school.control("POST", "/payer", {"ref": started.provider_ref, "action": "dance"}, status=400)
    assert school.control("POST", "/payer", {"ref": "nobody", "action": "approve"}, status=404)
    assert school.control("PUT", "/accounts/nobody", {"webhook_url": "https://a.example/"}, status=404)
    assert school.control("PUT", "/accounts/school", {"webhook_url": "http://a.example/"}, status=400)
    assert school.control("PUT", "/accounts/school", {"colour": "blue"}, status=400)
