"""A capture or refund that nobody could tell of, decided by a person on the payment's page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django_scopes import scopes_disabled

from tests import factories
from tests.admin.conftest import World, page_url
from tests.admin.rows import make_payment
from tests.admin.test_buttons import press

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]


def test_a_doubtful_refund_is_decided_on_its_payments_page(browser_of: Browser, world: World) -> None:
    payment = make_payment(world.school, factories.make_config(world.school, "stripe", account="school"), provider="stripe")
    page = page_url(payment)
    assert "Decide capture or refund" not in browser_of("admin").get(page).content.decode()
    with scopes_disabled():
        refund = payment.operations.get()
        refund.pk, refund.kind, refund.status, refund.amount = "re_doubtful", "refund", "needs_review", 5_000
        refund.idempotency_key, refund.hook_token = "k-doubtful", "h-doubtful"
        refund.save(force_insert=True)
    client = browser_of("operator")
    assert "Decide capture or refund" in client.get(page).content.decode()
    told = press(client, payment, "decide_operation", {"happened": "yes", "note": "seen in the dashboard"})
    assert told == [("success", "Decided: the refund of KES 50.00 is done.")]
    payment.refresh_from_db()
    assert payment.amount_refunded == 5_000
