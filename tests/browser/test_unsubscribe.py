"""The unsubscribe page in a real browser, on a phone and on a desktop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from integrations.messaging.models import Message, Recipient, Suppression
from integrations.messaging.safety.unsubscribing import unsubscribe_url
from integrations.models import Tenant
from tests.browser.conftest import DESKTOP, PHONE, overflows
from tests.browser.test_console import beside

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("size", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desktop", "phone"])
def test_stop_and_undo(
    size: dict[str, int],
    tenant: Tenant,
    live_server: Any,
    open_page: Callable[..., Page],
    shots: Callable[[Page, str], Path],
) -> None:
    name = "desktop" if size == DESKTOP else "phone"

    def link() -> str:
        message = Message.unscoped.create(
            tenant=tenant, channel="email", provider="smtp", subject="Term dates", body="...", category="school_news"
        )
        recipient = Recipient.unscoped.create(
            tenant=tenant, message=message, address="jane.wanjiku@springfield-parents.example", state="sent"
        )
        return live_server.url + urlsplit(unsubscribe_url(recipient)).path

    def held() -> int:
        return Suppression.unscoped.filter(tenant=tenant, released_at=None).count()

    page = open_page(size)
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if "Content Security Policy" in message.text else None)
    page.goto(beside(link))
    expect(page.get_by_role("heading", name="Which e-mails do you want?")).to_be_visible()
    shots(page, f"unsubscribe-{name}")
    assert not overflows(page)
    page.get_by_role("button", name="Stop “School news”").click()
    expect(page.get_by_role("status")).to_have_text("You are unsubscribed")
    shots(page, f"unsubscribe-{name}-category")
    assert beside(held) == 0
    page.get_by_role("button", name="Stop everything from Springfield School").click()
    expect(page.get_by_role("button", name="Undo: get e-mails again")).to_be_visible()
    shots(page, f"unsubscribe-{name}-everything")
    assert beside(held) == 1
    page.get_by_role("button", name="Undo: get e-mails again").click()
    expect(page.get_by_role("button", name="Undo: get “School news” again")).to_be_visible()
    page.get_by_role("button", name="Undo: get “School news” again").click()
    expect(page.get_by_role("heading", name="Which e-mails do you want?")).to_be_visible()
    assert beside(held) == 0
    assert not overflows(page)
    page.goto(f"{live_server.url}/u/1:cut-off")
    expect(page.get_by_role("status")).to_have_text("This link is not valid")
    shots(page, f"unsubscribe-{name}-unknown")
    assert refused == []
