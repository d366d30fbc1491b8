"""A client of the simulated PayPal that is less careful than the hub."""

from __future__ import annotations

import json
from typing import Any

import requests

from integrations.providers.paypal.tests.hub import PAYMENT, Hub


class Client:
    """A client with a token of the merchant."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        account = hub.account
        answer = requests.post(
            f"{hub.base_url}/v1/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=(account.values["client_id"], account.secrets["client_secret"]),
            timeout=5,
        )
        assert answer.status_code == 200
        self.token = answer.json()["access_token"]

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body)
        return requests.request(method, f"{self.hub.base_url}{path}", data=data, headers=sent, timeout=5)

    def order(self, value: str = "100.00", currency: str = "USD", **headers: str) -> requests.Response:
        return self.call("POST", "/v2/checkout/orders", body_of(value, currency), **headers)

    def approved(self, intent: str = "CAPTURE") -> str:
        made = self.call("POST", "/v2/checkout/orders", {**body_of("100.00"), "intent": intent}).json()["id"]
        self.hub.payer(made)
        return str(made)


def body_of(value: str, currency: str = "USD") -> dict[str, Any]:
    return {
        "intent": "CAPTURE",
        "purchase_units": [{"custom_id": PAYMENT, "amount": {"currency_code": currency, "value": value}}],
        "payment_source": {"paypal": {"experience_context": {"return_url": "https://shop.example/ok?x=1"}}},
    }


def issue(answer: requests.Response) -> str:
    return str(answer.json()["details"][0]["issue"])
