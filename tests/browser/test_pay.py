"""The payer's pages in a real browser: the card form on the hub's page, the bank's page, the gateways' own pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django_scopes import scope
from playwright.sync_api import Page, Request, Route, expect

from integrations.providers.stripe.simulator.accounts import accounts
from integrations.simulators import default_state_dir
from payments.models import PayerMethod
from tests.browser.conftest import DESKTOP, PHONE, overflows
from tests.browser.test_console import beside
from tests.factories import make_config
from tests.flows.conftest import School, school, until

__all__ = ["school", "until"]  # fixtures, used by their names

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Opener = Callable[..., Page]
Shots = Callable[[Page, str], Path]
Until = Callable[..., Any]
SIZES = pytest.mark.parametrize("size", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desktop", "phone"])
SHOP = "/shop/done"
LATER = 45_000
"""Milliseconds: a gateway that was asked just now is asked again after five seconds, when the page has renewed itself."""


@pytest.fixture
def payer(open_page: Opener) -> Iterator[Opener]:
    """`payer(PHONE)`: a page that fails the test for a request that leaves this machine, or a breach of the page's policy."""
    outside: list[str] = []
    refused: list[str] = []

    def note(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https") and parts.hostname not in ("127.0.0.1", "localhost"):
            outside.append(request.url)

    def make(size: dict[str, int] = DESKTOP) -> Page:
        page = open_page(size)
        page.context.on("request", note)
        page.on("console", lambda message: refused.append(message.text) if "Content Security Policy" in message.text else None)
        return page

    yield make
    assert outside == []
    assert refused == []


@pytest.fixture
def shop(school: School, live_server: Any) -> School:
    """The school with Stripe, PayPal and Flutterwave at the simulators."""
    config = make_config(school.tenant, "stripe", account="school")
    school.control("PUT", "stripe/accounts/school", json={"webhook_url": f"{live_server.url}/hooks/{config.hook_token}/events"})
    return school


def ask(school: School, live_server: Any, provider: str, **more: Any) -> dict[str, Any]:
    """Start a payment of USD 50.00 at a page; return it as the API shows it."""
    body = {
        "amount": 5000,
        "currency": "USD",
        "provider": provider,
        "method": {"type": "redirect"},
        "reference": {"type": "invoice", "id": "INV-0042"},
        "description": "Term 1 fees",
        "customer": {"name": "Jane Wanjiku", "email": "jane@example.com"},
        "return_url": f"{live_server.url}{SHOP}?order=7",
    }
    wanted = {name: value for name, value in (body | more).items() if value is not None}
    answer = school.api.post("/api/v1/payments/authorize", wanted, format="json")
    assert (answer.status_code, answer.json()["status"]) == (201, "requires_action"), answer.json()
    found: dict[str, Any] = answer.json()
    return found


def status_of(school: School, payment: dict[str, Any]) -> str:
    return str(beside(lambda: school.payment(payment["id"]).status))


def choose(page: Page, text: str) -> None:
    """Choose a test card of the stand-in for Stripe's form by the words behind its number."""
    option = page.get_by_label("Test card").locator("option", has_text=text).first
    page.get_by_label("Test card").select_option(value=option.get_attribute("value"))


@SIZES
def test_card_is_paid_on_the_hubs_page(
    size: dict[str, int], shop: School, live_server: Any, payer: Opener, shots: Shots
) -> None:
    name = "desktop" if size == DESKTOP else "phone"
    payment = ask(shop, live_server, "stripe")
    page = payer(size)
    page.goto(payment["next_action"]["url"])
    expect(page.get_by_role("heading", name="Pay by card")).to_be_visible()
    for text in ("USD 50.00", "Term 1 fees", "INV-0042", "Springfield School"):
        expect(page.get_by_text(text).first).to_be_visible()
    expect(page.get_by_label("Test card")).to_be_visible()
    shots(page, f"{name}-card")
    assert not overflows(page)
    choose(page, "insufficient_funds")
    page.get_by_role("button", name="Pay USD 50.00").click()
    expect(page.get_by_role("alert")).to_have_text("Your card has insufficient funds.")
    shots(page, f"{name}-card-declined")
    assert not overflows(page)
    assert status_of(shop, payment) == "requires_action"

    choose(page, "4242: succeeds")
    to_the_shop: list[Route] = []

    def hold(route: Route) -> None:
        """The page leads there after three seconds: not before we have looked at it."""
        to_the_shop.append(route)

    page.route(f"**{SHOP}?**", hold)
    page.get_by_role("button", name="Pay USD 50.00").click()
    expect(page.get_by_role("status")).to_have_text("Paid")
    expect(page.get_by_text("Springfield School has received your payment. Thank you.")).to_be_visible()
    shots(page, f"{name}-paid")
    assert not overflows(page)
    assert status_of(shop, payment) == "succeeded"
    page.unroute(f"**{SHOP}?**")
    for each in to_the_shop:
        each.continue_()
    page.wait_for_url(f"{live_server.url}{SHOP}?order=7&payment={payment['id']}&status=succeeded")
    rows = [row for row in shop.control("GET", "stripe/money")["payments"] if row["payment_id"] == payment["id"]]
    assert [row["captured"] for row in rows] == [5000]


def test_card_of_a_connected_account(school: School, live_server: Any, payer: Opener) -> None:
    """The browser asks first whether it may send the account's header to another site."""
    connected = next(each.id for each in accounts(default_state_dir()) if each.platform)
    make_config(school.tenant, "stripe", {"connected_account": connected}, account="school")
    payment = ask(school, live_server, "stripe", return_url=None)
    page = payer(PHONE)
    page.goto(payment["next_action"]["url"])
    choose(page, "4242: succeeds")
    page.get_by_role("button", name="Pay USD 50.00").click()
    expect(page.get_by_role("status")).to_have_text("Paid", timeout=LATER)
    assert status_of(school, payment) == "succeeded"


@pytest.mark.slow
def test_bank_confirms_or_refuses(shop: School, live_server: Any, payer: Opener, shots: Shots, until: Until) -> None:
    payment = ask(shop, live_server, "stripe", return_url=None)
    page = payer(PHONE)
    page.goto(payment["next_action"]["url"])
    choose(page, "3-D Secure each time")
    page.get_by_role("button", name="Pay USD 50.00").click()
    expect(page.get_by_role("heading", name="Confirm with your bank")).to_be_visible()
    expect(page.get_by_text("USD 50.00")).to_be_visible()
    shots(page, "phone-bank")
    # What Stripe tells meanwhile must not make the hub send the payer to the bank's page for good.
    beside(lambda: until(lambda: shop.payment(payment["id"]).checked_at))
    page.get_by_role("button", name="Fail authentication").click()
    page.wait_for_url("**/return?**")
    expect(page.get_by_role("status")).to_have_text("Not paid yet", timeout=LATER)
    shots(page, "phone-not-paid")
    assert not overflows(page)
    assert status_of(shop, payment) == "requires_action"

    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_role("heading", name="Pay by card")).to_be_visible()
    choose(page, "3-D Secure each time")
    page.get_by_role("button", name="Pay USD 50.00").click()
    page.get_by_role("button", name="Complete authentication").click()
    expect(page.get_by_role("status")).to_have_text("Paid", timeout=LATER)
    assert status_of(shop, payment) == "succeeded"
    # The link still works, and no longer asks for a card.
    page.goto(payment["next_action"]["url"])
    expect(page.get_by_role("status")).to_have_text("Paid")
    assert page.locator("form").count() == 0


def test_payer_changes_his_mind(shop: School, live_server: Any, payer: Opener, shots: Shots) -> None:
    payment = ask(shop, live_server, "stripe")
    page = payer(PHONE)
    page.goto(payment["next_action"]["url"])
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("Not paid yet")
    shots(page, "phone-cancelled")
    expect(page.get_by_role("link", name="Return to Springfield School")).to_be_visible()
    page.get_by_role("link", name="Back to the payment page").click()
    expect(page.get_by_role("heading", name="Pay by card")).to_be_visible()
    assert status_of(shop, payment) == "requires_action"


def test_second_window_of_a_paid_payment_tells_so(shop: School, live_server: Any, payer: Opener) -> None:
    payment = ask(shop, live_server, "stripe", return_url=None)
    first, second = payer(), payer()
    for page in (first, second):
        page.goto(payment["next_action"]["url"])
        expect(page.get_by_label("Test card")).to_be_visible()
    first.get_by_role("button", name="Pay USD 50.00").click()
    expect(first.get_by_role("status")).to_have_text("Paid")
    second.get_by_role("button", name="Pay USD 50.00").click()
    expect(second.get_by_role("status")).to_have_text("Paid")
    rows = [row for row in shop.control("GET", "stripe/money")["payments"] if row["payment_id"] == payment["id"]]
    assert [row["captured"] for row in rows] == [5000]


def test_gateway_that_is_down_says_try_again(shop: School, live_server: Any, payer: Opener, shots: Shots) -> None:
    payment = ask(shop, live_server, "stripe")
    shop.fault("stripe", "status", "error_500")
    page = payer(PHONE)
    answer = page.goto(payment["next_action"]["url"])
    assert answer is not None
    assert answer.status == 503
    expect(page.get_by_role("status")).to_have_text("Please try again")
    shots(page, "phone-try-again")
    shop.control("DELETE", "stripe/faults")
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_role("heading", name="Pay by card")).to_be_visible()


@SIZES
@pytest.mark.slow
def test_card_is_stored_for_later(size: dict[str, int], shop: School, live_server: Any, payer: Opener, shots: Shots) -> None:
    name = "desktop" if size == DESKTOP else "phone"
    body = {"provider": "stripe", "method": {"type": "card"}, "customer": {"id": "student-7", "name": "Jane Wanjiku"}}
    answer = shop.api.post("/api/v1/payments/setup-intent", body, format="json")
    assert (answer.status_code, answer.json()["status"]) == (201, "requires_action"), answer.json()
    setup = answer.json()
    page = payer(size)
    page.goto(setup["next_action"]["url"])
    expect(page.get_by_role("heading", name="Save your card")).to_be_visible()
    shots(page, f"{name}-save")
    assert not overflows(page)
    choose(page, "3-D Secure each time")
    page.get_by_role("button", name="Save card").click()
    page.get_by_role("button", name="Fail authentication").click()
    expect(page.get_by_role("status")).to_have_text("Your card is not saved yet")
    page.get_by_role("link", name="Try again").click()
    choose(page, "4242: succeeds")
    page.get_by_role("button", name="Save card").click()
    expect(page.get_by_role("status")).to_have_text("Card saved", timeout=LATER)
    expect(page.get_by_text("Visa •••• 4242")).to_be_visible()
    shots(page, f"{name}-saved")
    assert not overflows(page)

    def stored() -> list[tuple[str, str]]:
        with scope(tenant=shop.tenant):
            return list(PayerMethod.objects.values_list("customer_id", "last4"))

    assert beside(stored) == [("student-7", "4242")]


@pytest.mark.slow
def test_paypals_own_page(shop: School, live_server: Any, payer: Opener, shots: Shots, until: Until) -> None:
    make_config(shop.tenant, "paypal", account="school")
    payment = ask(shop, live_server, "paypal")
    page = payer(PHONE)
    page.goto(f"{live_server.url}/pay/{beside(lambda: shop.payment(payment['id']).page_token)}")
    expect(page.get_by_role("heading", name="Pay with PayPal")).to_be_visible()
    page.get_by_role("button", name="Cancel and return").click()
    expect(page.get_by_role("status")).to_have_text("Not paid yet")
    page.get_by_role("link", name="Back to the payment page").click()
    page.get_by_role("button", name="Pay now").click()
    expect(page.get_by_role("status")).to_have_text("Checking your payment")
    shots(page, "phone-checking")
    beside(lambda: until(lambda: shop.payment(payment["id"]).status == "succeeded"))
    page.wait_for_url(f"{live_server.url}{SHOP}?order=7&payment={payment['id']}&status=succeeded")


def test_flutterwaves_own_page(shop: School, live_server: Any, payer: Opener, shots: Shots, until: Until) -> None:
    make_config(shop.tenant, "flutterwave", account="school")
    payment = ask(shop, live_server, "flutterwave", currency="KES", amount=150_000, return_url=None)
    page = payer(PHONE)
    page.goto(f"{live_server.url}/pay/{beside(lambda: shop.payment(payment['id']).page_token)}")
    page.get_by_role("button", name="Pay by card").click()
    page.wait_for_url("**/return?**")
    beside(lambda: until(lambda: shop.payment(payment["id"]).status == "succeeded"))
    expect(page.get_by_role("status")).to_have_text("Paid")
    expect(page.get_by_text("KES 1,500.00")).to_be_visible()
    shots(page, "phone-paid-elsewhere")
