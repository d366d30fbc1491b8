"""The simulated Pesapal by plain requests: it shares no code with the adapter, and its answers have the recorded shapes."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
import requests

from integrations.providers.pesapal.tests.hub import Hub
from integrations.providers.pesapal.tests.support import PAYMENT, fixture

API = "/pesapal/api"


class Client:
    """One merchant's plain client."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.token = ""

    def authenticate(self, **changed: Any) -> Any:
        return self.call("POST", "/Auth/RequestToken", {**self.hub.account.secrets, **changed}, token="").json()

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None, **query: str) -> requests.Response:
        if token is None:
            self.token = token = self.token or self.authenticate()["token"]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(
            method, f"{self.hub.running.url}{API}{path}", json=body, params=query, headers=headers, timeout=5
        )

    def order(self, **changed: Any) -> Any:
        body = {
            **fixture("order_request"),
            "id": f"pay-{uuid4().hex[:12]}",
            "notification_id": self.hub.account.values["ipn_id"],
            **changed,
        }
        return self.call("POST", "/Transactions/SubmitOrderRequest", {k: v for k, v in body.items() if v is not None}).json()

    def status(self, tracking: str) -> Any:
        return self.call("GET", "/Transactions/GetTransactionStatus", orderTrackingId=tracking).json()


@pytest.fixture
def client(school: Hub) -> Client:
    return Client(school)


def shape(value: Any) -> Any:
    """Return the names and kinds of JSON data: what two samples of one shape have in common."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return "number" if isinstance(value, int | float) else type(value).__name__


def test_the_token_has_the_recorded_shape(client: Client) -> None:
    found = client.authenticate()
    assert shape(found) == shape(fixture("token"))
    assert re.fullmatch(r"2026-07-10T06:20:26\.\d{7}Z", found["expiryDate"])


@pytest.mark.parametrize("changed", [{"consumer_secret": "wrong"}, {"consumer_key": "wrong"}])
def test_wrong_keys_are_http_200_with_an_error(client: Client, changed: Any) -> None:
    assert client.authenticate(**changed) == fixture("token_refused")


@pytest.mark.parametrize("token", ["", "never-issued"])
def test_without_a_token_everything_is_401(client: Client, token: str) -> None:
    for method, path in (
        ("POST", "/Transactions/SubmitOrderRequest"),
        ("GET", "/Transactions/GetTransactionStatus"),
        ("POST", "/Transactions/RefundRequest"),
        ("POST", "/Transactions/CancelOrder"),
        ("POST", "/URLSetup/RegisterIPN"),
        ("GET", "/URLSetup/GetIpnList"),
    ):
        found = client.call(method, path, {}, token=token)
        assert (found.status_code, found.json()["error"]["code"]) == (401, "invalid_token")


def test_orders_and_statuses_have_the_recorded_shapes(client: Client, school: Hub) -> None:
    created = client.order()
    assert shape(created) == shape(fixture("order_created"))
    tracking = created["order_tracking_id"]
    unpaid = client.status(tracking)
    assert shape(unpaid) == shape(fixture("status_unpaid"))
    assert (unpaid["status"], unpaid["status_code"], unpaid["error"]["code"]) == ("500", 0, "payment_details_not_found")
    assert unpaid["created_date"] == "2026-07-10T09:15:26"
    school.payer(tracking, "approve", method="mpesa")
    paid = client.status(tracking)
    assert shape(paid) == shape(fixture("status_paid"))
    assert (paid["status"], paid["status_code"], paid["amount"], paid["payment_account"]) == ("200", 1, 1500.0, "2547xxx74149")
    assert re.fullmatch(r"[0-9A-Z]{10}", paid["confirmation_code"])


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"id": "x" * 51}, "invalid_api_request_parameters"),
        ({"id": "with blank"}, "invalid_api_request_parameters"),
        ({"id": None}, "invalid_api_request_parameters"),
        ({"description": "x" * 101}, "invalid_api_request_parameters"),
        ({"description": None}, "invalid_api_request_parameters"),
        ({"amount": 0}, "invalid_api_request_parameters"),
        ({"amount": 1.005}, "invalid_api_request_parameters"),
        ({"amount": "1500"}, "invalid_api_request_parameters"),
        ({"callback_url": "return"}, "invalid_api_request_parameters"),
        ({"redirect_mode": "POPUP"}, "invalid_api_request_parameters"),
        ({"billing_address": {"first_name": "Jane"}}, "invalid_api_request_parameters"),
        ({"billing_address": None}, "invalid_api_request_parameters"),
        ({"notification_id": None}, "invalid_api_request_parameters"),
        ({"notification_id": str(uuid4())}, "InvalidIpnId"),
        ({"currency": "NGN"}, "invalid_currency"),
        ({"currency": "UGX", "amount": 1.5}, "invalid_currency"),
    ],
)
def test_orders_that_are_refused(client: Client, school: Hub, changed: dict[str, Any], code: str) -> None:
    found = client.order(**changed)
    assert (found["status"], found["error"]["code"], found.get("order_tracking_id")) == ("500", code, None)
    assert school.money() == []


def test_an_id_serves_once_per_merchant_for_ever(client: Client, school: Hub, studio: Hub) -> None:
    assert client.order(id="pay-1")["status"] == "200"
    assert client.order(id="pay-1", amount=7)["error"]["code"] == "duplicate_merchant_reference"
    assert Client(studio).order(id="pay-1")["status"] == "200"
    assert [row["asked"] for row in school.money()] == [150_000, 150_000]


def test_the_accounts_ceiling(client: Client, school: Hub) -> None:
    school.control("PUT", "/settings", {"amount_ceiling": 1000})
    assert client.order()["error"]["code"] == "maximum_amount_limit_exceeded"


def test_addresses_are_listed_as_they_were_registered(client: Client, school: Hub) -> None:
    body = {"url": "https://hub.example.com/hooks/x", "ipn_notification_type": "GET"}
    entry = client.call("POST", "/URLSetup/RegisterIPN", body).json()
    assert shape(entry) == shape(fixture("ipn_registered"))
    own, listed = client.call("GET", "/URLSetup/GetIpnList").json()
    assert listed == entry
    assert (own["ipn_id"], own["notification_type"], entry["notification_type"]) == (school.account.values["ipn_id"], 1, 0)
    refused = client.call("POST", "/URLSetup/RegisterIPN", {**body, "ipn_notification_type": "PUT"}).json()
    assert refused["status"] == "500"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"confirmation_code": "NOSUCHCODE"}, "Invalid confirmation code"),
        ({"amount": "1500.01"}, "The amount exceeds the amount paid"),
    ],
)
def test_refunds_that_are_rejected(client: Client, school: Hub, changed: dict[str, str], message: str) -> None:
    tracking = client.order()["order_tracking_id"]
    school.payer(tracking, "approve")
    body = {**fixture("refund_request"), "confirmation_code": client.status(tracking)["confirmation_code"], **changed}
    found = client.call("POST", "/Transactions/RefundRequest", body).json()
    assert found == {"status": "500", "message": message}
    assert client.status(tracking)["status_code"] == 1


def test_one_refund_request_per_payment(client: Client, school: Hub) -> None:
    tracking = client.order()["order_tracking_id"]
    school.payer(tracking, "approve")
    body = {**fixture("refund_request"), "confirmation_code": client.status(tracking)["confirmation_code"], "amount": "1"}
    assert client.call("POST", "/Transactions/RefundRequest", body).json() == fixture("refund_taken")
    again = client.call("POST", "/Transactions/RefundRequest", body).json()
    assert again == {"status": "500", "message": "A refund request already exists for this payment"}


def test_cancelling_has_the_documented_answer_once(client: Client) -> None:
    tracking = client.order()["order_tracking_id"]
    body = {"order_tracking_id": tracking}
    assert client.call("POST", "/Transactions/CancelOrder", body).json() == fixture("cancelled")
    assert client.call("POST", "/Transactions/CancelOrder", body).json()["status"] == "500"
    assert client.call("POST", "/Transactions/CancelOrder", {"order_tracking_id": str(uuid4())}).json()["status"] == "500"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/payer", {"ref": "nobody", "action": "approve"}, 404),
        ("/payer", {"ref": PAYMENT, "action": "dance"}, 400),
        ("/payer", {"ref": PAYMENT, "action": "approve", "method": "cash"}, 400),
        ("/dashboard", {"ref": PAYMENT, "action": "capture"}, 400),
        ("/dashboard", {"ref": PAYMENT, "action": "void"}, 400),
        ("/dashboard", {"ref": PAYMENT, "action": "expire"}, 400),
        ("/dashboard", {"ref": PAYMENT, "action": "refund"}, 400),
        ("/dashboard", {"ref": PAYMENT, "action": "settle_refund"}, 400),
        ("/dashboard", {"ref": PAYMENT, "action": "fail_refund"}, 400),
        ("/dashboard", {"ref": PAYMENT, "action": "dispute"}, 400),
    ],
)
def test_what_can_t_happen_is_refused_and_changes_nothing(
    client: Client, school: Hub, path: str, body: dict[str, str], status: int
) -> None:
    tracking = client.order(id=PAYMENT.replace("_", "-"))["order_tracking_id"]
    before = school.money()
    assert "error" in school.control("POST", path, body, status=status)
    assert school.money() == before
    assert client.status(tracking)["status_code"] == 0


def test_a_dashboard_refund_of_a_part(client: Client, school: Hub) -> None:
    tracking = client.order()["order_tracking_id"]
    school.payer(tracking, "approve")
    school.dashboard(tracking, "refund", amount=50_000)
    assert client.status(tracking)["status_code"] == 3
    assert school.money()[0]["refunded"] == 50_000
    assert school.control("POST", "/dashboard", {"ref": tracking, "action": "refund"}, status=400)


def test_pages_show_what_they_are_given_as_text(client: Client, school: Hub) -> None:
    created = client.order(description='<b onclick="x">fees</b>')
    page = requests.get(created["redirect_url"], timeout=5).text
    assert "&lt;b onclick=&quot;x&quot;&gt;fees&lt;/b&gt;" in page
    assert "<b onclick" not in page
    unknown = requests.get(f"{created['redirect_url']}x", timeout=5)
    assert unknown.status_code == 404
    bad = requests.post(created["redirect_url"], data={"choice": "steal"}, allow_redirects=False, timeout=5)
    assert bad.status_code == 404
    assert school.money()[0]["captured"] == 0
    paid = requests.post(created["redirect_url"], data={"choice": "card"}, allow_redirects=False, timeout=5)
    twice = requests.post(created["redirect_url"], data={"choice": "card"}, allow_redirects=False, timeout=5)
    assert (paid.status_code, twice.status_code) == (303, 409)


def test_the_state_shows_no_secret(client: Client, school: Hub) -> None:
    client.order()
    shown = str(school.control("GET", "/state")) + str(school.control("GET", "/requests"))
    for secret in (*school.account.secrets.values(), client.token):
        assert secret not in shown
