"""The gateway's card form on the hub's own page: what it may run, what it never leaves behind, and when it is not shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
from django.test import Client
from rest_framework.test import APIClient

from integrations.contracts.errors import UnsupportedOperation
from integrations.models import CallLog, Config, Tenant
from integrations.providers.stripe.adapter import STRIPE_SOURCES, StripePayments
from integrations.simulators import running_simulators
from payments.models import Payment
from payments.pages.rendering import HEADERS, Page, with_script
from payments.pages.views import FORMS_AT_ONCE
from tests.factories import MovableClock, make_config
from tests.payments.test_pages import links_of, refresh_of, text_of

pytestmark = pytest.mark.django_db(transaction=True)
CLOSED = HEADERS["Content-Security-Policy"]


@pytest.fixture
def stripe(tenant: Tenant, simulators: running_simulators, clock: MovableClock) -> Config:
    return make_config(tenant, "stripe")


@pytest.fixture
def payment(tenant: Tenant, stripe: Config, api: Callable[..., APIClient]) -> Payment:
    body = {
        "amount": 5000,
        "currency": "USD",
        "method": {"type": "redirect"},
        "provider": "stripe",
        "reference": {"type": "invoice", "id": "INV-0042"},
        "description": "Term 1 <fees>",
        "return_url": "https://shop.example/done?order=7",
    }
    answer = api(tenant).post("/api/v1/payments/authorize", body, format="json")
    assert (answer.status_code, answer.json()["status"]) == (201, "requires_action"), answer.json()
    return Payment.unscoped.get(pk=answer.json()["id"])


def open_form(payment: Payment, part: str = "") -> Any:
    return Client().get(f"/pay/{payment.page_token}{part}")


def secret_of(response: Any) -> str:
    found = re.search(r'"client_secret": "([^"]+)"', response.content.decode())
    assert found is not None
    return found[1]


def control(simulators: running_simulators, method: str, path: str, **kwargs: Any) -> Any:
    answer = requests.request(method, f"{simulators.url}/control/stripe/{path}", timeout=10, **kwargs)
    assert answer.status_code < 300, answer.text
    return answer.json()


def asked(simulators: running_simulators) -> int:
    """Return how often the gateway was asked for this payment."""
    return len([row for row in control(simulators, "GET", "requests") if row["operation"] == "status"])


def test_the_form_stands_in_the_hubs_page_and_may_run_nothing_else(payment: Payment, simulators: running_simulators) -> None:
    response = open_form(payment)
    assert response.status_code == 200
    text = text_of(response)
    wanted = ("Springfield School", "Pay by card", "USD 50.00", "INV-0042", "Term 1 <fees>", "Pay USD 50.00")
    assert [word for word in wanted if word not in text] == []
    html = response.content.decode()
    assert "Term 1 <fees>" not in html
    nonce = re.findall(r"<script[^>]*\bnonce=\"([^\"]+)\"", html)
    assert len(nonce) == 1
    assert html.count("<script") == 4  # two of them are data
    url = simulators.url
    assert response["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors 'none'; script-src 'nonce-{nonce[0]}' {url}; frame-src {url}; connect-src {url}"
    )
    assert f'<script src="{url}/stripe/js/v3/">' in html
    for name in ("Cache-Control", "Referrer-Policy", "X-Robots-Tag"):
        assert response[name] == HEADERS[name]
    assert not response.cookies
    assert f"nonce-{nonce[0]}" not in open_form(payment)["Content-Security-Policy"]


def test_only_the_forms_page_may_run_scripts(payment: Payment) -> None:
    for part in ("/return", "/cancel", "/status"):
        assert open_form(payment, part)["Content-Security-Policy"] == CLOSED


def test_the_client_secret_stays_in_the_answer(payment: Payment, caplog: pytest.LogCaptureFixture) -> None:
    before = Payment.unscoped.filter(pk=payment.pk).values().get()
    with caplog.at_level("DEBUG"):
        response = open_form(payment)
        secret = secret_of(response)
        query = {"payment_intent_client_secret": secret, "redirect_status": "succeeded"}
        assert Client().get(f"/pay/{payment.page_token}/return", query).status_code == 200
    assert secret.startswith("pi_")
    logs = list(CallLog.unscoped.filter(provider="stripe").order_by("pk").values())
    assert [log["operation"] for log in logs] == ["authorize", "status", "status"]
    kept = str(logs) + str(Payment.unscoped.filter(pk=payment.pk).values().get())
    assert secret not in kept
    said = [str(record.msg) for record in caplog.records]
    assert [line for line in said if "request_finished" in line and "GET /pay/••••/return" in line] != []
    for word in (secret, payment.page_token, "redirect_status"):
        assert [line for line in said if word in line] == []
    after = Payment.unscoped.filter(pk=payment.pk).values().get()
    changed = {name for name, value in after.items() if value != before[name]}
    assert changed <= {"checked_at", "updated"}


def test_vendors_own_origins_are_all_that_production_opens() -> None:
    form = Page("School", "form", "Pay by card", "")
    context = {"fragment": "payments/unknown.html"}
    policy = with_script(form, context, sources=STRIPE_SOURCES, nonce="n0nce")["Content-Security-Policy"]
    origins = "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com https://api.stripe.com"
    opened = f"script-src 'nonce-n0nce' {origins}; frame-src {origins}; connect-src {origins}"
    assert policy == f"{CLOSED}; {opened}"
    none = with_script(form, context, sources=(), nonce="n0nce")["Content-Security-Policy"]
    assert none == f"{CLOSED}; script-src 'nonce-n0nce'"


@pytest.mark.parametrize(
    "source",
    ["*", "https:", "'unsafe-inline'", "https://a.example;script-src *", "data:", "https://a.example/path", "https://*"],
)
def test_what_is_no_origin_opens_nothing(source: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        with_script(Page("School", "form", "Pay", ""), {}, sources=(source,), nonce="n")


def test_gateway_that_is_down_is_no_error_of_the_page(payment: Payment, simulators: running_simulators) -> None:
    before = Payment.unscoped.filter(pk=payment.pk).values().get()
    control(simulators, "POST", "faults", json={"operation": "status", "fault": "error_500"})
    response = open_form(payment)
    assert (response.status_code, response["Retry-After"]) == (503, "15")
    assert "Please try again" in text_of(response)
    assert response["Content-Security-Policy"] == CLOSED
    assert b"<script" not in response.content
    own = f"/pay/{payment.page_token}"
    shop = f"https://shop.example/done?order=7&payment={payment.pk}&status=requires_action"
    assert [links_of(response)[0].endswith(own), links_of(response)[1]] == [True, shop]
    assert Payment.unscoped.filter(pk=payment.pk).values().get() == before
    control(simulators, "DELETE", "faults")
    assert open_form(payment).status_code == 200


def test_who_reloads_without_end_does_not_use_up_the_accounts_limit(
    payment: Payment, simulators: running_simulators, clock: MovableClock
) -> None:
    answers = [open_form(payment).status_code for _ in range(FORMS_AT_ONCE + 3)]
    assert answers == [200] * FORMS_AT_ONCE + [503] * 3
    assert asked(simulators) == FORMS_AT_ONCE
    clock.advance(2)
    assert open_form(payment).status_code == 200


def test_account_without_a_key_for_the_form_says_so(payment: Payment, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise UnsupportedOperation("no publishable key 4711")

    monkeypatch.setattr(StripePayments, "payer_page", refuse)
    response = open_form(payment)
    assert (response.status_code, "Not possible here" in text_of(response)) == (200, True)
    assert "publishable key" not in text_of(response)  # no bare number: the ids of the links are full of digits
    assert response["Content-Security-Policy"] == CLOSED


def test_paid_meanwhile_is_told_and_no_card_is_asked_for(payment: Payment, simulators: running_simulators) -> None:
    control(simulators, "POST", "payer", json={"ref": payment.pk, "action": "approve"})
    response = open_form(payment)
    assert "Springfield School has received your payment" in text_of(response)
    assert (b"<script" in response.content, response["Content-Security-Policy"]) == (False, CLOSED)
    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured) == ("succeeded", 5000)


def test_who_comes_back_unpaid_may_try_again(payment: Payment, simulators: running_simulators, clock: MovableClock) -> None:
    response = open_form(payment, "/return")
    assert ("Not paid yet" in text_of(response), refresh_of(response)) == (True, None)
    own, shop = links_of(response)
    assert own.endswith(f"/pay/{payment.page_token}")
    assert shop.startswith("https://shop.example/done?order=7&")
    assert asked(simulators) == 1
    # Just asked: what is known may be out of date, so nobody is told to pay again.
    again = open_form(payment, "/return")
    assert ("Checking your payment" in text_of(again), refresh_of(again)) == (True, "3")
    assert asked(simulators) == 1
    control(simulators, "POST", "payer", json={"ref": payment.pk, "action": "approve"})
    clock.advance(5)
    assert "has received your payment" in text_of(open_form(payment, "/return"))


def test_the_banks_page_is_never_where_the_link_leads(
    payment: Payment, simulators: running_simulators, clock: MovableClock
) -> None:
    """Asked about while the payer is at his bank, the gateway names the bank's page: a dead end once he has been there."""
    page = open_form(payment)
    key = re.search(r'"publishable_key": "([^"]+)"', page.content.decode())
    assert key is not None
    form = {
        "key": key[1],
        "client_secret": secret_of(page),
        "payment_method": "pm_card_threeDSecure2Required",
        "return_url": "https://hub.example/back",
    }
    url = f"{simulators.url}/stripe/v1/payment_intents/{payment.provider_ref}/confirm"
    confirmed = requests.post(url, data=form, timeout=10).json()
    assert confirmed["next_action"]["type"] == "redirect_to_url"
    assert "Not paid yet" in text_of(open_form(payment, "/return"))
    payment.refresh_from_db()
    assert payment.next_action["url"].endswith(f"/pay/{payment.page_token}")
    control(simulators, "POST", "payer", json={"ref": payment.pk, "action": "fail"})
    assert "Pay by card" in text_of(open_form(payment))
