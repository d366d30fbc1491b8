"""Stored payers in the console: seen without what charges them, removed by a button that the gateway hears of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from integrations.contracts.payment import StoredMethod
from integrations.models import QueueItem
from payments.gateway import gateway_class
from payments.models import PayerMethod
from tests import factories
from tests.admin.conftest import World, page_url
from tests.admin.rows import CANARY, make_setup
from tests.admin.test_buttons import press

pytestmark = pytest.mark.django_db(transaction=True)
Browser = Callable[[str], Client]


@pytest.fixture
def method(world: World) -> PayerMethod:
    config = factories.make_config(world.school, "stripe", account="school")
    found = make_setup(world.school, config).payer_method
    assert found is not None
    return found


def test_the_card_is_shown_by_its_last_digits_and_its_token_never(browser_of: Browser, method: PayerMethod) -> None:
    page = browser_of("admin").get(page_url(method)).content.decode()
    assert "Visa •••• 4242" in page
    assert CANARY not in page
    assert method.sealed_token not in page


def test_removing_it_is_told_to_the_gateway(browser_of: Browser, method: PayerMethod, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []

    def forget(adapter: Any, stored: StoredMethod) -> None:
        forgotten.append(stored.token)

    monkeypatch.setattr(gateway_class("stripe"), "forget", forget)
    told = press(browser_of("admin"), method, "forget")
    assert told == [("success", "Removed: it can't be charged any more.")]
    method.refresh_from_db()
    assert (method.is_active, method.removed_at is not None) == (False, True)
    assert forgotten == [CANARY]
    assert QueueItem.unscoped.get(kind="payment.forget_method").state == "completed"


def test_staff_may_not_remove_it(browser_of: Browser, method: PayerMethod) -> None:
    answer = browser_of("staff").post(page_url(method, "press", "forget"))
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    method.refresh_from_db()
    assert method.is_active
