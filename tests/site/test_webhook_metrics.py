"""What health and metrics tell of webhooks, and that asking does not read big tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from integrations.contracts.ids import first_id, new_id
from integrations.models import QueueState, Tenant
from integrations_site.platform import webhooks
from tests.factories import MovableClock, make_delivery, make_endpoint, make_item, make_tenant
from webhooks.inbound.models import Rejection
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState, Endpoint, EndpointHealth

pytestmark = pytest.mark.django_db

NOTHING = dict.fromkeys(("due", "throttled", "waiting", "in_flight", "gathering", "held", "dead"), 0)


def owed(endpoint: Endpoint, **fields: Any) -> Delivery:
    delivery = make_delivery(endpoint)
    Delivery.unscoped.filter(pk=delivery.pk).update(**fields)
    return delivery


def health(endpoint: Endpoint, **fields: Any) -> None:
    assert EndpointHealth.unscoped.filter(endpoint=endpoint).update(**fields) == 1


def test_an_id_tells_its_time(clock: MovableClock) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = new_id("dlv")
    assert first_id("dlv", before) < made < first_id("dlv", datetime.now(UTC) + timedelta(milliseconds=2))


def test_deliveries_by_state(tenant: Tenant, clock: MovableClock) -> None:
    now = clock()
    well = make_endpoint(tenant)
    make_delivery(well)
    owed(well, due_at=now - timedelta(seconds=40))
    owed(well, due_at=now + timedelta(hours=1), attempts=1)
    until = now + timedelta(seconds=30)
    owed(well, due_at=until, lease_until=until)
    owed(well, state=DeliveryState.DELIVERED)
    owed(well, state=DeliveryState.FAILED, finished_at=now - timedelta(hours=23))
    owed(well, state=DeliveryState.FAILED, finished_at=now - timedelta(hours=25))
    owed(well, state=DeliveryState.GATHERING)
    assert webhooks.deliveries() == webhooks.Deliveries(
        {**NOTHING, "due": 2, "waiting": 1, "in_flight": 1, "gathering": 1, "dead": 1}, 40.0, 0.0
    )


@pytest.mark.parametrize(
    ("endpoint", "state"),
    [
        ({}, {"paused_until": timedelta(minutes=1)}),
        ({}, {"breaker": "open", "breaker_until": timedelta(seconds=1)}),
        ({"rate_per_second": 0.5}, {"tokens": 0.0, "tokens_at": timedelta(seconds=-1)}),
    ],
    ids=["asked to wait", "breaker open", "rate used up"],
)
def test_what_is_throttled_is_counted_apart(
    tenant: Tenant, clock: MovableClock, endpoint: dict[str, Any], state: dict[str, Any]
) -> None:
    throttled = make_endpoint(tenant, **endpoint)
    health(throttled, **{name: clock() + value if isinstance(value, timedelta) else value for name, value in state.items()})
    owed(throttled, due_at=clock() - timedelta(seconds=90))
    found = webhooks.deliveries()
    assert (found.counts["throttled"], found.counts["due"]) == (1, 0)
    assert (found.throttled_seconds, found.overdue_seconds) == (90.0, 0.0)
    clock.advance(minutes=2)
    found = webhooks.deliveries()
    assert (found.counts["throttled"], found.counts["due"]) == (0, 1)
    assert (found.throttled_seconds, found.overdue_seconds) == (0.0, 210.0)


def test_what_is_kept_for_an_endpoint_that_is_off(tenant: Tenant, clock: MovableClock) -> None:
    endpoint = make_endpoint(tenant)
    make_delivery(endpoint)
    services.disable_endpoint(endpoint_id=endpoint.pk, tenant_id=tenant.pk, reason="gone")
    make_delivery(endpoint)
    make_delivery(make_endpoint(tenant, is_active=False))
    assert webhooks.deliveries().counts["held"] == 2 + 2  # the second event was for both
    assert webhooks.endpoints() == {"closed": 0, "open": 0, "half_open": 0, "off": 2}


def test_nobody_waits_for_a_tenant_that_is_off(clock: MovableClock) -> None:
    make_delivery(make_endpoint(make_tenant("closed", is_active=False)))
    assert webhooks.deliveries() == webhooks.Deliveries(NOTHING, 0.0, 0.0)


@pytest.fixture
def attempts(tenant: Tenant, clock: MovableClock) -> None:
    delivery = make_delivery(make_endpoint(tenant))
    for number in range(1, 12):
        # The last is older than five minutes.
        finished = clock() - timedelta(seconds=number if number < 11 else 301)
        DeliveryAttempt.unscoped.create(
            tenant=tenant,
            delivery=delivery,
            number=number,
            started_at=finished,
            finished_at=finished,
            lag_ms=number * 100,
            duration_ms=number * 10,
            error_class="" if number <= 8 else "timeout",
        )


def test_attempts_of_the_last_minutes(attempts: None) -> None:
    found = webhooks.lately()
    assert found.results == {"delivered": 8, "timeout": 2}
    assert found.lag == {0.5: 0.55, 0.95: 0.955, 0.99: 0.991}
    assert found.duration == {0.5: 0.055, 0.95: 0.0955, 0.99: 0.0991}


def test_no_attempts_have_no_quantiles(db: None) -> None:
    assert webhooks.lately() == webhooks.Lately({}, {}, {})


def test_metrics_and_health_show_webhooks(client: Client, tenant: Tenant, attempts: None, clock: MovableClock) -> None:
    broken = make_endpoint(tenant)
    health(broken, breaker="open", breaker_until=clock() + timedelta(minutes=1))
    owed(broken, due_at=clock() - timedelta(seconds=12))
    make_item(tenant, kind="webhook.process")
    make_item(tenant, kind="webhook.process", state=QueueState.COMPLETED)
    for day, count in ((clock().date(), 7), (clock().date() - timedelta(days=1), 70)):
        Rejection.objects.create(key=str(day), source="mpesa", reason="signature", day=day, count=count, last_at=clock())
    lines = client.get("/metrics").content.decode().splitlines()
    for line in (
        'hub_deliveries{state="due"} 2.0',
        'hub_deliveries{state="throttled"} 1.0',
        'hub_delivery_overdue_seconds{throttled="yes"} 12.0',
        'hub_delivery_overdue_seconds{throttled="no"} 0.0',
        'hub_delivery_attempts{result="delivered"} 8.0',
        'hub_delivery_attempts{result="timeout"} 2.0',
        'hub_delivery_lag_seconds{quantile="0.5"} 0.55',
        'hub_delivery_duration_seconds{quantile="0.99"} 0.0991',
        'hub_webhook_endpoints{breaker="closed"} 1.0',
        'hub_webhook_endpoints{breaker="open"} 1.0',
        "hub_receipts_waiting 1.0",
        "hub_rejections_today 7.0",
    ):
        assert line in lines
    shown = APIClient().get("/api/health").json()["webhooks"]
    assert (shown["due"], shown["throttled"], shown["throttled_seconds"]) == (2, 1, 12.0)


# --- the price of asking --------------------------------------------------------------------------------------------------

ROWS = 20_000
MUCH = """
INSERT INTO webhooks_outbound_event (id, tenant_id, type, type_version, key, channels, payload, object_type, object_id, created)
SELECT 'evt_' || lpad(n::text, 26, '0'), %(tenant)s, 'payment.completed', 1, n::text, '[]', '{}', '', '', %(old)s
FROM generate_series(1, %(rows)s) n;
INSERT INTO webhooks_outbound_delivery (id, tenant_id, event_id, endpoint_id, order_key, state, due_at, attempts,
    attempts_allowed, fence, last_error, dead_reason, created, finished_at)
SELECT 'dlv_' || lpad(n::text, 26, '0'), %(tenant)s, 'evt_' || lpad(n::text, 26, '0'), %(endpoint)s, '',
    CASE WHEN n %% 10 = 0 THEN 'failed' ELSE 'delivered' END, %(old)s, 1, 12, 1, '', '', %(old)s, %(old)s
FROM generate_series(1, %(rows)s) n;
INSERT INTO webhooks_outbound_deliveryattempt (tenant_id, delivery_id, number, started_at, finished_at, lag_ms, duration_ms,
    error_class, error, request_headers, response_headers, response_head, address)
SELECT %(tenant)s, 'dlv_' || lpad(n::text, 26, '0'), 1, %(old)s, %(old)s, 5, 5, '', '', '{}', '{}', '', ''
FROM generate_series(1, %(rows)s) n;
ANALYZE webhooks_outbound_event; ANALYZE webhooks_outbound_delivery; ANALYZE webhooks_outbound_deliveryattempt;
"""


def test_a_scrape_reads_no_big_table_whole(tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, off = make_endpoint(tenant), make_endpoint(tenant, is_active=False)
    values = {"tenant": tenant.pk, "endpoint": endpoint.pk, "rows": ROWS, "old": clock() - timedelta(days=30)}
    with connection.cursor() as cursor:
        cursor.execute(MUCH, values)
    make_delivery(endpoint)
    plans: list[str] = []
    ask = webhooks._rows

    def explained(statement: str, **given: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + statement, given)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))
        return ask(statement, **given)

    monkeypatch.setattr(webhooks, "_rows", explained)
    found = webhooks.deliveries()
    webhooks.lately()
    webhooks.endpoints()
    assert (found.counts["due"], found.counts["held"], off.is_active) == (1, 1, False)
    assert len(plans) == 7
    for plan in plans:
        assert "Seq Scan on webhooks_outbound_delivery" not in plan, plan
