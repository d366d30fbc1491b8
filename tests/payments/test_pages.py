"""The payer's pages: what they say, what they never say, whom they ask and how often."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
import requests
from django.test import Client
from rest_framework.test import APIClient

from integrations.contracts.errors import ProviderUnavailable
from integrations.contracts.ids import new_token
from integrations.models import Tenant
from integrations.simulators import running_simulators
from payments.models import Payment
from payments.pages import payment as payment_page
from tests.factories import MovableClock, make_config

GATEWAY = "https://gateway.example/checkout/1?a=1&b=2"
NEXT = {"type": "redirect", "url": GATEWAY}
Ask = Callable[..., Payment]


class Gateway:
    """Stands in for the question to the gateway: counts, and moves the payment to `becomes` or fails."""

    def __init__(self) -> None:
        self.asked = 0
        self.becomes: dict[str, Any] = {}
        self.error: Exception | None = None

    def __call__(self, *, payment: Payment, actor: str) -> Payment:
        assert actor == "payer"
        self.asked += 1
        if self.error is not None:
            raise self.error
        Payment.objects.filter(pk=payment.pk).update(**self.becomes or {"status": payment.status})
        payment.refresh_from_db()
        return payment


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    gateway = Gateway()
    monkeypatch.setattr(payment_page, "sync_payment", gateway)
    return gateway


def text_of(response: Any) -> str:
    return unescape(response.content.decode())


def refresh_of(response: Any) -> str | None:
    found = re.search(r'<meta http-equiv="refresh" content="([^"]*)">', response.content.decode())
    return unescape(found[1]) if found else None


def links_of(response: Any) -> list[str]:
    return [unescape(url) for url in re.findall(r'<a [^>]*href="([^"]*)"', response.content.decode())]


@pytest.fixture
def get(db: None) -> Callable[..., Any]:
    """`get(payment, "/return", **query)`: as a stranger's browser does."""
    return lambda payment, part="", **query: Client().get(f"/pay/{payment.page_token}{part}", query)


def test_an_open_payment_is_being_checked(ask: Ask, gateway: Gateway, get: Any) -> None:
    payment = ask("requires_action", next_action=NEXT, return_url="https://shop.example/done")
    response = get(payment, "/return", status="paid", payment_status="COMPLETED")
    assert response.status_code == 200
    assert "Checking your payment" in text_of(response)
    assert refresh_of(response) == "3"
    assert links_of(response) == [GATEWAY]
    assert gateway.asked == 1
    payment.refresh_from_db()
    assert payment.status == "requires_action"


def test_what_the_gateway_answers_is_shown_at_once(ask: Ask, gateway: Gateway, get: Any) -> None:
    payment = ask("requires_action", next_action=NEXT)
    gateway.becomes = {
        "status": "succeeded", "amount_authorized": 150_000, "amount_captured": 150_000, "receipt_number": "R-2026-0007",
        "receipt": "SECRET-REF-1", "provider_ref": "SECRET-REF-2", "next_action": None,
    }  # fmt: skip
    response = get(payment, "/return")
    text = text_of(response)
    assert [word for word in ("Paid", "KES 1,500.00", "R-2026-0007", "Springfield School") if word not in text] == []
    assert refresh_of(response) is None
    assert links_of(response) == []
    assert get(payment, "/return").status_code == 200
    assert gateway.asked == 1  # decided: nobody is asked any more


def test_nothing_private_is_shown(ask: Ask, gateway: Gateway, get: Any) -> None:
    private = {
        "phone": "+254712345678", "payer_name": "Jane Wanjiku", "customer": {"email": "jane@example.com"},
        "provider_ref": "SECRET-REF-1", "receipt": "SECRET-REF-2", "hold_ref": "SECRET-REF-3", "method_detail": "Visa 4242",
        "failure": {"code": "declined", "message": "card of jane@example.com refused"},
    }  # fmt: skip
    payment = ask("failed", **private)
    for part in ("", "/return", "/cancel", "/status"):
        shown = text_of(get(payment, part))
        for word in ("254712345678", "712345678", "Jane", "jane@", "SECRET", "4242", payment.pk, payment.provider):
            assert word not in shown


@pytest.mark.parametrize(
    ("status", "title"),
    [("failed", "Payment failed"), ("cancelled", "Payment cancelled"), ("expired", "Payment expired")],
)
def test_an_ending_without_money_says_why(status: str, title: str, ask: Ask, gateway: Gateway, get: Any) -> None:
    payment = ask(status, failure={"code": "insufficient_funds", "message": "provider text 4711"})
    text = text_of(get(payment, "/return"))
    assert title in text
    assert "The payer's balance is too low." in text
    assert "4711" not in text
    assert gateway.asked == 0


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (None, "No money was taken."),
        ({"code": "from_another_version"}, "No money was taken."),
        ({"code": "credentials_refused", "message": "x"}, "The payment could not be processed."),
    ],
)
def test_the_tenants_own_matters_stay_his(failure: Any, reason: str, ask: Ask, gateway: Gateway, get: Any) -> None:
    assert f'<p class="text">{reason}</p>' in text_of(get(ask("failed", failure=failure), "/return"))


def test_a_hold_is_approved_and_a_contradiction_is_reviewed(ask: Ask, gateway: Gateway, get: Any) -> None:
    held = get(ask("authorized", capture="manual", amount_authorized=150_000), "/return")
    assert ("Approved" in text_of(held), refresh_of(held)) == (True, None)
    odd = get(ask("conflicted"), "/return")
    assert ("is being reviewed" in text_of(odd), refresh_of(odd)) == (True, None)
    waits = get(ask("needs_review"), "/return")
    assert ("is being reviewed" in text_of(waits), refresh_of(waits)) == (True, "30")


@pytest.mark.parametrize(
    ("given", "query"),
    [
        ("https://shop.example/done", "?{}"),
        ("https://shop.example/done?order=7&x=a%20b", "?order=7&x=a%20b&{}"),
        ("http://shop.example/done?order=7#top", "?order=7&{}#top"),
    ],
)
def test_a_decided_payment_leads_back_to_the_shop(given: str, query: str, ask: Ask, gateway: Gateway, get: Any) -> None:
    payment = ask("succeeded", amount_authorized=150_000, amount_captured=150_000, return_url=given)
    target = given.split("?")[0] + query.format(f"payment={payment.pk}&status=succeeded")
    response = get(payment, "/return")
    assert refresh_of(response) == f"3;url={target}"
    assert links_of(response) == [target]


@pytest.mark.parametrize(
    "bad", ["javascript:alert(1)", "ftp://shop.example/", "https:///nowhere", "//shop.example", "http://["]
)
def test_only_web_addresses_are_followed(bad: str, ask: Ask, gateway: Gateway, get: Any) -> None:
    response = get(ask("failed", return_url=bad), "/return")
    assert (refresh_of(response), links_of(response)) == (None, [])
    opened = get(ask("requires_action", next_action={"type": "redirect", "url": bad}))
    assert (opened.status_code, links_of(opened)) == (200, [])


def test_markup_in_values_stays_text(ask: Ask, gateway: Gateway, get: Any, tenant: Tenant) -> None:
    tenant.name = '<script>x</script>"'
    tenant.save()
    shown = get(ask("failed", return_url='https://shop.example/?"><script>y'), "/return").content.decode()
    assert "<script>" not in shown


def test_who_comes_back_without_paying_may_go_on(ask: Ask, gateway: Gateway, get: Any) -> None:
    payment = ask("requires_action", next_action=NEXT, return_url="https://shop.example/done")
    response = get(payment, "/cancel")
    assert "came back without paying" in text_of(response)
    assert refresh_of(response) is None
    assert links_of(response) == [GATEWAY, f"https://shop.example/done?payment={payment.pk}&status=requires_action"]
    assert gateway.asked == 1


def test_who_comes_back_by_cancel_but_has_paid_is_told_so(ask: Ask, gateway: Gateway, get: Any) -> None:
    gateway.becomes = {"status": "succeeded", "amount_authorized": 150_000, "amount_captured": 150_000}
    text = text_of(get(ask("requires_action", next_action=NEXT), "/cancel"))
    assert ("Springfield School has received your payment" in text, "without paying" in text) == (True, False)


def test_the_short_address_leads_to_the_gateway(ask: Ask, gateway: Gateway, get: Any) -> None:
    response = get(ask("requires_action", next_action=NEXT))
    assert (response.status_code, response["Location"], response["Referrer-Policy"]) == (302, GATEWAY, "no-referrer")
    assert gateway.asked == 0


@pytest.mark.parametrize("part", ["", "/return", "?x=1"])
def test_it_never_leads_to_itself(part: str, ask: Ask, gateway: Gateway, get: Any, settings: Any) -> None:
    token = new_token()
    own = {"type": "redirect", "url": f"{settings.PUBLIC_BASE_URL}/pay/{token}{part}"}
    response = get(ask("requires_action", page_token=token, next_action=own))
    assert (response.status_code, links_of(response)) == (200, [])


def test_an_approved_payment_waits_for_its_completion(ask: Ask, gateway: Gateway, get: Any) -> None:
    """The payer has agreed: sending him to the gateway's page again would be wrong although its address is still known."""
    response = get(ask("processing", next_action=NEXT))
    assert (response.status_code, refresh_of(response), links_of(response)) == (200, "3", [])


def test_the_gateway_is_asked_every_five_seconds_at_most(ask: Ask, gateway: Gateway, get: Any, clock: MovableClock) -> None:
    payment = ask("processing")
    for seconds, asked in ((0, 1), (0, 1), (4, 1), (1, 2), (4.9, 2), (0.1, 3)):
        clock.advance(seconds)
        assert get(payment, "/return").status_code == 200
        assert gateway.asked == asked


def test_a_gateway_that_is_down_is_not_asked_more_often(ask: Ask, gateway: Gateway, get: Any, clock: MovableClock) -> None:
    payment = ask("requires_action", next_action=NEXT)
    gateway.error = ProviderUnavailable("down: SECRET")
    first, second = get(payment, "/return"), get(payment, "/cancel")
    assert "Checking your payment" in text_of(first)
    assert "SECRET" not in text_of(first) + text_of(second)
    assert gateway.asked == 1
    payment.refresh_from_db()
    assert (payment.status, payment.next_action) == ("requires_action", NEXT)
    clock.advance(5)
    get(payment, "/return")
    assert gateway.asked == 2


def test_a_page_that_waits_for_an_hour_looks_less_often(ask: Ask, gateway: Gateway, get: Any, clock: MovableClock) -> None:
    payment = ask("processing")
    clock.advance(hours=1)
    assert refresh_of(get(payment, "/return")) == "30"


def test_the_status_is_all_that_the_json_says(ask: Ask, gateway: Gateway, get: Any) -> None:
    response = get(ask("processing"), "/status")
    assert response.json() == {"status": "processing"}
    assert gateway.asked == 0


@pytest.mark.parametrize("part", ["", "/return", "/cancel", "/status"])
def test_only_the_token_opens_it(part: str, ask: Ask, gateway: Gateway) -> None:
    payment = ask("requires_action", next_action=NEXT)
    for key in (payment.pk, payment.hook_token, new_token(), payment.page_token[:-1], payment.page_token.upper() + "A"):
        response = Client().get(f"/pay/{key}{part}")
        assert response.status_code == 404
        assert b"Springfield" not in response.content
        assert response["Cache-Control"] == "no-store"
    assert gateway.asked == 0


@pytest.mark.parametrize("part", ["", "/return", "/cancel", "/status"])
def test_every_answer_carries_the_headers_and_no_cookie(part: str, ask: Ask, gateway: Gateway, get: Any) -> None:
    for payment in (ask("requires_action", next_action=NEXT), ask("failed")):
        response = get(payment, part)
        assert response["Cache-Control"] == "no-store"
        assert response["Referrer-Policy"] == "no-referrer"
        assert response["X-Robots-Tag"] == "noindex"
        assert "default-src 'none'" in response["Content-Security-Policy"]
        assert not response.cookies
        assert b"<script" not in response.content


@pytest.mark.parametrize("part", ["", "/return", "/cancel", "/status"])
def test_nothing_but_get(part: str, ask: Ask, gateway: Gateway) -> None:
    payment = ask("requires_action", next_action=NEXT)
    for method in ("post", "put", "delete", "head"):
        assert getattr(Client(), method)(f"/pay/{payment.page_token}{part}").status_code == 405
    assert gateway.asked == 0


# --- with a real gateway behind it


@pytest.fixture
def checkout(tenant: Tenant, simulators: running_simulators, api: Callable[..., APIClient], transactional_db: None) -> Payment:
    """A payment that the API has started at a hosted page."""
    make_config(tenant, "pesapal")
    body = {
        "amount": 150_000,
        "currency": "KES",
        "method": {"type": "redirect"},
        "provider": "pesapal",
        "customer": {"name": "Jane Wanjiku", "email": "jane@example.com"},
        "return_url": "https://shop.example/done?order=7",
    }
    answer = api(tenant).post("/api/v1/payments/authorize", body, format="json")
    assert (answer.status_code, answer.json()["status"]) == (201, "requires_action"), answer.json()
    return Payment.unscoped.get(pk=answer.json()["id"])


def pay(simulators: running_simulators, payment: Payment, action: str) -> str:
    """Do what the payer does on the gateway's page; return the path and query that the browser is sent to."""
    answer = requests.post(
        f"{simulators.url}/control/pesapal/payer", json={"ref": payment.provider_ref, "action": action}, timeout=10
    )
    assert answer.status_code == 200, answer.text
    return "/" + str(answer.json()["redirect"]).split("/", 3)[3]


def test_a_whole_payment_at_a_hosted_page(checkout: Payment, simulators: running_simulators, clock: MovableClock) -> None:
    browser = Client()
    to_gateway = browser.get(f"/pay/{checkout.page_token}")
    assert to_gateway["Location"] == checkout.next_action["url"]  # type: ignore[index]
    assert requests.get(to_gateway["Location"], timeout=10).status_code == 200

    where = pay(simulators, checkout, "cancel")
    assert where.startswith(f"/pay/{checkout.page_token}/cancel?")
    assert "came back without paying" in text_of(browser.get(where))

    clock.advance(5)
    where = pay(simulators, checkout, "approve")
    assert where.startswith(f"/pay/{checkout.page_token}/return?OrderTrackingId=")
    response = browser.get(where)
    checkout.refresh_from_db()
    assert (checkout.status, checkout.amount_captured) == ("succeeded", 150_000)
    assert checkout.receipt_number
    text = text_of(response)
    assert [word for word in ("Paid", "KES 1,500.00", checkout.receipt_number, "Springfield School") if word not in text] == []
    assert checkout.provider_ref not in text
    assert refresh_of(response) == f"3;url=https://shop.example/done?order=7&payment={checkout.pk}&status=succeeded"


def test_a_return_address_that_was_typed_proves_nothing(checkout: Payment, clock: MovableClock) -> None:
    typed = f"/pay/{checkout.page_token}/return?OrderTrackingId={checkout.provider_ref}&status=COMPLETED&payment_status_code=1"
    response = Client().get(typed)
    checkout.refresh_from_db()
    assert (checkout.status, checkout.amount_captured) == ("requires_action", 0)
    assert "Checking your payment" in text_of(response)


def test_a_gateway_that_is_gone_leaves_the_payment_as_it_is(
    checkout: Payment, simulators: running_simulators, clock: MovableClock
) -> None:
    where = pay(simulators, checkout, "approve")
    faults = f"{simulators.url}/control/pesapal/faults"
    assert requests.post(faults, json={"operation": "status", "fault": "error_500"}, timeout=10).status_code < 300
    response = Client().get(where)
    assert ("Checking your payment" in text_of(response), refresh_of(response)) == (True, "3")
    checkout.refresh_from_db()
    assert (checkout.status, checkout.amount_captured) == ("requires_action", 0)
    assert requests.delete(faults, timeout=10).status_code < 300
    clock.advance(5)
    assert "has received your payment" in text_of(Client().get(where))
