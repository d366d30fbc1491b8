"""An operator takes a circuit in hand, in a real browser, and what a school's payments see of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from integrations.models import BreakerState
from tests import factories
from tests.browser.conftest import DESKTOP, PHONE, overflows
from tests.browser.test_console import beside
from tests.flows.conftest import School, school, until

__all__ = ["school", "until"]  # fixtures, used by their names

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PARENT = "254712345678"


def log_in(page: Page, base: str) -> None:
    factories.make_user("olive", is_superuser=True)
    page.goto(f"{base}/admin/")
    page.get_by_label("Username").fill("olive")
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Payments today")).to_be_visible()


@pytest.mark.parametrize("size", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desktop", "phone"])
def test_a_circuit_is_held_open_and_let_go(
    school: School,
    until: Callable[..., Any],
    live_server: Any,
    open_page: Callable[..., Page],
    shots: Callable[[Page, str], Path],
    size: dict[str, int],
) -> None:
    name = "desktop" if size == DESKTOP else "phone"
    first = school.ask(PARENT).json()
    assert first["status"] == "processing"
    school.enter_pin(PARENT)
    beside(lambda: until(lambda: school.payment(first["id"]).status == "succeeded"))

    page = open_page(size)
    log_in(page, live_server.url)
    page.goto(f"{live_server.url}/admin/integrations/breakerstate/")
    row = page.locator("#result_list tbody tr", has_text="M-Pesa")
    expect(row).to_contain_text(school.tenant.name)
    shots(page, f"circuits-{name}")
    assert not overflows(page)
    row.get_by_role("link", name="M-Pesa").click()
    expect(page.get_by_role("heading", name="What happens to calls while it is open")).to_be_visible()
    page.get_by_role("link", name="Hold open").click()
    expect(page.get_by_text("Until then nobody calls")).to_be_visible()
    page.get_by_role("button", name="Hold open").click()
    expect(page.get_by_text("held open by olive until")).to_be_visible()
    shots(page, f"circuit-held-{name}")
    assert not overflows(page)

    refused = school.ask(PARENT).json()
    assert (refused["status"], refused["failure"]["code"]) == ("failed", "circuit_open")
    assert len(school.seen("stk_push")) == 1

    page.get_by_role("button", name="Let go").click()
    expect(page.get_by_text("Let go: the calls decide again.")).to_be_visible()
    assert BreakerState.objects.get(provider="mpesa").forced == ""
    again = school.ask(PARENT).json()
    assert again["status"] == "processing"
    assert len(school.seen("stk_push")) == 2
