"""The console as a person uses it, in a real browser, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from playwright.sync_api import Page, expect

from integrations.models import QueueItem, QueueState, Role, Tenant
from integrations.runtime import jobs
from integrations.simulators import running_simulators
from tests import factories
from tests.admin.rows import CANARY, make_payment, make_rows
from tests.browser.conftest import DESKTOP, PHONE, overflows

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Opener = Callable[..., Page]
Shots = Callable[[Page, str], Path]
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])


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
    page.get_by_role("link", name="Payments", exact=True).first.click()
    page.get_by_role("link", name=rows["payments.payment"].pk).click()
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
def test_phone_shows_the_prompt_and_takes_the_pin(
    size: dict[str, int], simulators: running_simulators, open_page: Opener, shots: Shots, db: None, registered: None
) -> None:
    """The simulators' own page: a customer starts a payment on the phone and reads the network's answer."""
    page = open_page(size)
    page.goto(f"{simulators.url}/phone?number=254712345678")
    name = "desktop" if size == DESKTOP else "phone"
    expect(page.get_by_role("heading", name="Messages")).to_be_visible()
    shots(page, f"{name}-phone")
    assert not overflows(page)
    page.goto(simulators.url)
    shots(page, f"{name}-control")
    assert not overflows(page)
