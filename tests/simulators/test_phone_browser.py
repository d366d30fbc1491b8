"""The phone page in a real browser: polling, typing while it polls, answering a prompt, paying a bill."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from integrations.providers.mpesa.simulator import MpesaSimulator
from integrations.providers.mpesa.tests.simulator.daraja import Daraja
from integrations.simulators import SystemClock, running_simulators
from tests.simulators.support import Receiver

NUMBER = "254712345678"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")]


@pytest.fixture
def school(tmp_path: Path) -> Iterator[Daraja]:
    with Receiver() as hooks, running_simulators([MpesaSimulator], state_dir=tmp_path) as running:
        assert isinstance(running.clock, SystemClock)
        yield Daraja(running, running.clock, hooks, running.simulator("mpesa").accounts[0])


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def page(school: Daraja, problems: list[str]) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{school.running.url}/phone?number={NUMBER}")
        yield page
        browser.close()


def test_a_prompt_appears_is_answered_and_the_money_shows(school: Daraja, page: Page, problems: list[str]) -> None:
    expect(page.get_by_text("No messages yet.")).to_be_visible()
    school.push()
    sheet = page.locator(".sheet")
    expect(sheet.get_by_text("KES 1,500")).to_be_visible()
    page.get_by_label("PIN (1234 is right on every phone)").fill("12")
    # An SMS arrives while the PIN is being typed: the page changes, the typing stays.
    school.simulator.to_phone(NUMBER, "SCHOOL", "A reminder", "m1")
    expect(page.get_by_text("A reminder")).to_be_visible()
    pin = page.get_by_label("PIN (1234 is right on every phone)")
    expect(pin).to_have_value("12")
    expect(pin).to_be_focused()
    pin.press_sequentially("34")
    page.get_by_role("button", name="Send").click()
    expect(sheet).to_have_count(0)
    receipt = school.simulator.stk.pushes()[0]["receipt"]
    expect(page.get_by_text(f"{receipt} Confirmed. Ksh1,500.00 sent to DEMO SCHOOL")).to_be_visible()
    assert problems == []


def test_cancel_and_pay_bill(school: Daraja, page: Page, problems: list[str]) -> None:
    school.push()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".sheet")).to_have_count(0)
    assert school.simulator.stk.pushes()[0]["result"] == "1032"
    page.get_by_text("Lipa na M-Pesa").click()
    page.get_by_label("Amount (KES)").fill("250")
    page.get_by_label("PIN (1234)", exact=True).fill("1234")
    page.get_by_role("button", name="Pay").click()
    expect(page.get_by_text("the account number has 1 to 20 characters")).to_be_visible()
    page.get_by_label("Account number").fill("INV-7")
    page.get_by_role("button", name="Pay").click()
    expect(page.get_by_text("Ksh250.00 sent to DEMO SCHOOL for account INV-7")).to_be_visible()
    assert [entry["amount"] for entry in school.simulator.ledger.transactions()] == [250]
    assert problems == []
