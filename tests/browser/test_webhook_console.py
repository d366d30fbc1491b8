"""The console's webhook pages in a real browser, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from integrations.contracts import clock
from integrations.models import Role, Tenant
from tests import factories
from tests.admin.conftest import list_url, page_url
from tests.admin.rows import make_rows
from tests.browser.conftest import DESKTOP, PHONE, overflows
from tests.browser.test_console import log_in
from webhooks.outbound.models import Delivery, DeliveryAttempt, EndpointHealth

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LISTS = ("endpoint", "delivery", "event", "eventtypedefinition", "replay", "portallink", "retentionpolicy")


@pytest.fixture
def rows(transactional_db: None, tenant: Tenant) -> dict[str, Any]:
    factories.make_user("jane", tenant=tenant, role=Role.ADMIN)
    made = make_rows(tenant)
    endpoint = factories.make_endpoint(
        tenant,
        name="Accounting system",
        url="https://erp.example/hooks/payments",
        events=["payment.*", "order.created"],
        headers={"X-Api-Key": "canary-7766-secret"},
        filter={"type": "payment.completed"},
    )
    now = clock.now()
    EndpointHealth.unscoped.filter(endpoint=endpoint).update(
        failures=14,
        failing_since=now - timedelta(days=3),
        breaker="open",
        breaker_until=now + timedelta(minutes=10),
        last_failure_at=now,
        warned=50,
    )
    delivery = factories.make_delivery(endpoint)
    Delivery.unscoped.filter(pk=delivery.pk).update(attempts=2, last_status=503, last_error="the endpoint answered 503")
    for number in (1, 2):
        DeliveryAttempt.unscoped.create(
            tenant=tenant,
            delivery=delivery,
            number=number,
            started_at=now,
            finished_at=now,
            lag_ms=40,
            duration_ms=230,
            status_code=503,
            error_class="http_status",
            error="the endpoint answered 503",
            request_headers={"webhook-id": delivery.event_id, "webhook-signature": "v1", "X-Api-Key": "••••cret"},
            response_headers={"retry-after": "120", "content-type": "text/plain"},
            response_head="Service unavailable",
            address="203.0.113.7",
        )
    return {**made, "broken": endpoint, "tried": delivery}


@pytest.mark.parametrize("size", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desktop", "phone"])
def test_the_webhook_pages_are_readable(
    open_page: Callable[..., Page],
    shots: Callable[[Page, str], Path],
    live_server: Any,
    rows: dict[str, Any],
    size: dict[str, int],
) -> None:
    page = open_page(size)
    kind = "phone" if size is PHONE else "desktop"
    log_in(page, live_server.url)
    shots(page, f"overview-{kind}")
    for name in LISTS:
        page.goto(live_server.url + list_url(f"webhooks_outbound.{name}"))
        shots(page, f"list-{name}-{kind}")
        assert not overflows(page), name

    page.goto(live_server.url + page_url(rows["broken"]))
    expect(page.get_by_text("On the way to being switched off")).to_be_visible()
    shots(page, f"endpoint-{kind}")
    assert not overflows(page)
    page.goto(live_server.url + page_url(rows["broken"], "press", "rotate"))
    shots(page, f"rotate-{kind}")
    page.get_by_role("button", name="Rotate the secret").click()
    secret = page.get_by_label("Accounting system").input_value()
    assert secret.startswith("whsec_")
    shots(page, f"secret-{kind}")

    page.goto(live_server.url + page_url(rows["broken"], "press", "recover"))
    shots(page, f"recover-{kind}")
    page.goto(live_server.url + page_url(rows["tried"]))
    page.get_by_text("Show", exact=True).first.click()
    expect(page.get_by_text("retry-after").first).to_be_visible()
    shots(page, f"delivery-{kind}")
    assert not overflows(page)

    for name in ("endpoint", "eventtypedefinition", "retentionpolicy"):
        page.goto(f"{live_server.url}/admin/webhooks_outbound/{name}/add/")
        shots(page, f"add-{name}-{kind}")
        assert not overflows(page), name
