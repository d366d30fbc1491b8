"""The console as a person uses it, in a real browser, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.db import connections
from playwright.sync_api import Page, expect

from integrations.models import QueueItem, QueueState, Role, Tenant
from integrations.runtime import jobs
from integrations.simulators import running_simulators
from tests import factories
from tests.admin.rows import CANARY, make_payment, make_rows
from tests.browser.conftest import DESKTOP, PHONE, overflows
from tests.flows.conftest import School, school, until

__all__ = ["school", "until"]  # fixtures, used by their names

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Opener = Callable[..., Page]
Shots = Callable[[Page, str], Path]
SIZES = pytest.mark.parametrize("size", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desktop", "phone"])


class SampleJob(jobs.LocalJob):
    kind = "sample"

    def run(self, item: QueueItem) -> None:
        return


@pytest.fixture
def rows(transactional_db: None, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setitem(jobs._jobs, "sample", SampleJob())
    factories.make_user("jane", tenant=tenant, role=Role.ADMIN)
    for number, status in enumerate(["processing", "failed", "needs_review"]):
        make_payment(
            tenant,
            status=status,
            reference_id=f"INV-005{number}",
            amount_captured=0,
            amount_authorized=0,
            receipt="",
            receipt_number="",
            completed_at=None,
        )
    return make_rows(tenant)


def log_in(page: Page, base: str) -> None:
    page.goto(f"{base}/admin/")
    page.get_by_label("Username").fill("jane")
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Payments today")).to_be_visible()


def beside(work: Callable[[], Any]) -> Any:
    """Do the workers' part in another thread: Playwright's event loop runs in ours, and the delivery engine has its own."""

    def run() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def told(school: School, payment_id: str) -> set[tuple[str, str]]:
    return {(entry.kind, entry.status) for entry in school.timeline(payment_id)}


def pk(row: Any) -> str:
    return str(quote(row.pk))


@SIZES
def test_person_finds_her_way(
    size: dict[str, int], live_server: Any, rows: dict[str, Any], open_page: Opener, shots: Shots
) -> None:
    page = open_page(size)
    name = "desktop" if size == DESKTOP else "phone"
    page.goto(f"{live_server.url}/admin/")
    shots(page, f"{name}-login")
    log_in(page, live_server.url)
    shots(page, f"{name}-overview")
    config, payment = rows["integrations.config"], rows["payments.payment"]
    pages = {
        "payments": "/admin/payments/payment/",
        "payment": f"/admin/payments/payment/{pk(payment)}/change/",
        "configs": "/admin/integrations/config/",
        "config": f"/admin/integrations/config/{config.pk}/change/",
        "choose-provider": "/admin/integrations/config/add/",
        "add-config": "/admin/integrations/config/add/?provider=mpesa",
        "queue": "/admin/integrations/queueitem/",
        "item": f"/admin/integrations/queueitem/{rows['integrations.queueitem'].pk}/change/",
        "logs": "/admin/integrations/calllog/",
        "log": f"/admin/integrations/calllog/{rows['integrations.calllog'].pk}/change/",
        "delivery": f"/admin/webhooks_outbound/delivery/{pk(rows['webhooks_outbound.delivery'])}/change/",
        "message": f"/admin/messaging/message/{pk(rows['messaging.message'])}/change/",
        "receipt": f"/admin/payments/payment/{pk(payment)}/receipt.html",
        "alerts": "/admin/integrations/alert/",
        "new-key": "/admin/integrations/apikey/add/",
    }
    for title, path in pages.items():
        answer = page.goto(live_server.url + path)
        assert answer is not None
        assert answer.status == 200, path
        assert CANARY not in page.content()
        shots(page, f"{name}-{title}")
        assert not overflows(page), path


def test_retry_by_click(live_server: Any, rows: dict[str, Any], open_page: Opener) -> None:
    page = open_page()
    log_in(page, live_server.url)
    item = rows["integrations.queueitem"]
    page.goto(f"{live_server.url}/admin/integrations/queueitem/")
    page.get_by_role("link", name="sample").first.click()
    expect(page.get_by_text("no connection").first).to_be_visible()
    page.get_by_role("button", name="Retry now").click()
    expect(page.get_by_text("It is pending again and will run at once.")).to_be_visible()
    assert QueueItem.unscoped.get(pk=item.pk).state == QueueState.PENDING
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Cancel", exact=False).click()
    assert QueueItem.unscoped.get(pk=item.pk).state == QueueState.PENDING
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel", exact=False).click()
    expect(page.get_by_text("Cancelled.", exact=True)).to_be_visible()
    assert QueueItem.unscoped.get(pk=item.pk).state == QueueState.CANCELLED


def test_payment_page_and_receipt(live_server: Any, rows: dict[str, Any], open_page: Opener) -> None:
    page = open_page()
    log_in(page, live_server.url)
    page.locator("#nav-sidebar-apps").get_by_role("link", name="Payments").click()
    page.locator(f'a[href*="{pk(rows["payments.payment"])}"]').first.click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    expect(page.get_by_text("payment asked for").first).to_be_visible()
    page.get_by_role("link", name="Page", exact=True).click()
    expect(page.get_by_text("KES 1,500.00")).to_be_visible()
    expect(page.get_by_role("heading", name="Springfield School")).to_be_visible()


def test_account_is_set_up_and_tested_by_hand(
    simulators: running_simulators, live_server: Any, rows: dict[str, Any], open_page: Opener, shots: Shots
) -> None:
    page = open_page()
    log_in(page, live_server.url)
    page.goto(f"{live_server.url}/admin/integrations/config/add/")
    page.get_by_role("link", name="Africa's Talking").click()
    values = factories.demo_values("africastalking", "school")
    page.locator("#id_label").fill("By hand")
    page.locator("#id_environment").select_option("simulator")
    page.locator("#id_value_username").fill(values["username"])
    page.locator("#id_value_api_key").fill(values["api_key"])
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_text("It works:")).to_be_visible()
    shots(page, "desktop-config-tested")
    assert values["api_key"] not in page.content()


@SIZES
def test_parent_pays_on_the_phone_and_the_school_sees_it(
    size: dict[str, int], school: School, until: Callable[..., Any], live_server: Any, open_page: Opener, shots: Shots
) -> None:
    """The main job with two browsers: the parent's phone (the simulators' own page) and the school's console."""
    name = "desktop" if size == DESKTOP else "phone"
    factories.make_user("jane", tenant=school.tenant, role=Role.ADMIN)
    phone = open_page(size)
    phone.goto(f"{school.simulator_url}/phone?number=254712345678")
    expect(phone.get_by_text("No messages yet.")).to_be_visible()
    payment = school.ask("0712345678").json()
    expect(phone.get_by_text("KES 1,500")).to_be_visible()
    shots(phone, f"{name}-phone-prompt")
    assert not overflows(phone)
    phone.locator("input.pin").fill("1234")
    phone.get_by_role("button", name="Send").click()
    beside(lambda: until(lambda: school.payment(payment["id"]).status == "succeeded"))
    beside(lambda: until(lambda: ("sms", "delivered") in told(school, payment["id"])))
    beside(lambda: until(lambda: ("delivery", "delivered") in told(school, payment["id"])))
    receipt = school.payment(payment["id"]).receipt
    expect(phone.get_by_text(receipt).first).to_be_visible()
    shots(phone, f"{name}-phone-receipt")
    assert not overflows(phone)

    page = open_page(size)
    log_in(page, live_server.url)
    shots(page, f"{name}-overview-paid")
    page.goto(f"{live_server.url}/admin/payments/payment/{quote(payment['id'])}/change/")
    expect(page.get_by_text(receipt).first).to_be_visible()
    expect(page.get_by_text("stk_push").first).to_be_visible()
    shots(page, f"{name}-payment-paid")
    assert not overflows(page)


@SIZES
def test_control_page_of_the_simulators(
    size: dict[str, int], registered: None, simulators: running_simulators, open_page: Opener, shots: Shots
) -> None:
    page = open_page(size)
    page.goto(simulators.url)
    expect(page.get_by_role("heading", name="M-Pesa")).to_be_visible()
    shots(page, f"{'desktop' if size == DESKTOP else 'phone'}-control")
    assert not overflows(page)
