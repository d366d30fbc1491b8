"""Each answered request is counted once, by day and route; counting never stands in its way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from integrations.models import ApiKey, ApiKeyUsage, Tenant
from integrations.tenancy import usage
from integrations.tenancy.route_names import route_template
from tests.access.conftest import KEYS, codes
from tests.factories import MovableClock

# What is counted is counted by day: no test may run across midnight.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
PAYMENTS = "/api/v1/payments"
WithKey = Callable[..., tuple[APIClient, ApiKey]]


def counted(row: ApiKey) -> dict[str, tuple[int, int]]:
    return {each.route: (each.count, each.errors) for each in ApiKeyUsage.unscoped.filter(key=row)}


def test_by_route_without_ids_aliases_with_what_they_stand_for(with_key: WithKey) -> None:
    client, row = with_key()
    client.get(PAYMENTS)
    client.get("/api/payments")
    client.head(PAYMENTS)
    client.get(f"{PAYMENTS}/pay_{'0' * 26}")
    client.get(f"/api/payments/pay_{'1' * 26}?x=2")
    client.get("/api/integrations/configs/7")
    client.post(f"{PAYMENTS}/refund", {})
    client.generic("BREW", PAYMENTS)
    client.get("/api/v1/nowhere")
    assert counted(row) == {
        "GET /api/v1/payments": (3, 0),
        "GET /api/v1/payments/{payment_id}": (2, 2),
        "GET /api/v1/integrations/configs/{config_id}": (1, 1),
        "POST /api/v1/payments/refund": (1, 1),
        "OTHER /api/v1/payments": (1, 1),
    }


@pytest.mark.parametrize(
    ("pattern", "template"),
    [
        ("api/v1/integrations/configs/<int:config_id>/test", "/api/v1/integrations/configs/{config_id}/test"),
        (r"api/^webhooks/(?P<endpoint_id>we_[0-9a-z]{26})/test$", "/api/v1/webhooks/{endpoint_id}/test"),
        ("api/v1/integrations/providers/<slug:category>", "/api/v1/integrations/providers/{category}"),
        ("api/v1/integration/webhooks", "/api/v1/webhooks"),
        (r"api/^integration/webhooks/(?P<endpoint_id>we_[0-9a-z]{26})$", "/api/v1/webhooks/{endpoint_id}"),
        ("api/v1/integration/logs", "/api/v1/integrations/logs"),
    ],
)
def test_names_of_routes(pattern: str, template: str) -> None:
    assert route_template(pattern) == template


def test_refusals_count_as_errors(with_key: WithKey, clock: MovableClock) -> None:
    client, row = with_key(scopes=["audit"], rate_per_minute=3)
    assert client.get(PAYMENTS).status_code == 403
    assert [client.get("/api/v1/integrations/audit").status_code for _ in range(3)] == [200, 200, 429]
    ApiKey.unscoped.update(allowed_ips=["10.0.0.1"])
    assert client.get(PAYMENTS).status_code == 403
    ApiKey.unscoped.update(revoked_at=clock.moment)
    assert client.get(PAYMENTS).status_code == 401, "a system that still uses it is to be seen"
    assert counted(row) == {"GET /api/v1/payments": (3, 3), "GET /api/v1/integrations/audit": (3, 1)}


def test_a_failure_of_ours_counts_too(with_key: WithKey, monkeypatch: pytest.MonkeyPatch) -> None:
    client, row = with_key()
    client.raise_request_exception = False
    monkeypatch.setattr("integrations.access.audit_api.AuditView.get_queryset", lambda self: 1 / 0)
    assert client.get("/api/v1/integrations/audit").status_code == 500
    assert counted(row) == {"GET /api/v1/integrations/audit": (1, 1)}


def test_a_count_that_fails_fails_nothing(with_key: WithKey, monkeypatch: pytest.MonkeyPatch) -> None:
    client, row = with_key()
    monkeypatch.setattr(usage, "_UPSERT", "INSERT INTO no_such_table VALUES (%s, %s, %s, %s, %s)")
    assert client.get(PAYMENTS).status_code == 200
    assert counted(row) == {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")  # the transaction around is still good


def test_people_are_not_counted(admin_api: APIClient, tenant: Tenant) -> None:
    ApiKeyUsage.unscoped.all().delete()
    assert APIClient().get(PAYMENTS).status_code == 401
    assert not ApiKeyUsage.unscoped.exists()


def test_what_the_route_answers(with_key: WithKey, clock: MovableClock) -> None:
    admin, _own = with_key("admin")
    client, row = with_key()
    client.get(PAYMENTS)
    clock.advance(days=2)
    client.get(PAYMENTS)
    client.get(f"{PAYMENTS}/pay_{'0' * 26}")
    found = admin.get(f"{KEYS}/{row.pk}/usage?days=3").json()
    assert found == {
        "total": 3,
        "errors": 1,
        "days": [
            {"day": "2026-11-20", "count": 1, "errors": 0},
            {"day": "2026-11-21", "count": 0, "errors": 0},
            {"day": "2026-11-22", "count": 2, "errors": 1},
        ],
        "routes": [
            {"route": "GET /api/v1/payments", "count": 2, "errors": 0},
            {"route": "GET /api/v1/payments/{payment_id}", "count": 1, "errors": 1},
        ],
    }
    assert admin.get(f"{KEYS}/{row.pk}/usage?days=2").json()["total"] == 2
    assert len(admin.get(f"{KEYS}/{row.pk}/usage").json()["days"]) == 30
    assert len(admin.get(f"{KEYS}/{row.pk}/usage?days=400").json()["days"]) == 400


@pytest.mark.parametrize("days", ["0", "401", "x", "", "1.5", "-3"])
def test_bad_days_are_named(days: str, with_key: WithKey) -> None:
    client, row = with_key()
    answer = client.get(f"{KEYS}/{row.pk}/usage?days={days}")
    assert (answer.status_code, [attr for _code, attr in codes(answer)]) == (400, ["days"])


def test_the_day_is_counted_in_utc(with_key: WithKey, clock: MovableClock) -> None:
    client, row = with_key()
    clock.advance(hours=14, minutes=59, seconds=59)
    client.get(PAYMENTS)
    clock.advance(1)
    client.get(PAYMENTS)
    days = set(ApiKeyUsage.unscoped.filter(key=row).values_list("day", "count"))
    assert days == {(date(2026, 11, 20), 1), (date(2026, 11, 20) + timedelta(days=1), 1)}


def test_the_canonical_route_is_never_longer_than_its_column(with_key: WithKey, monkeypatch: Any) -> None:
    client, row = with_key()
    monkeypatch.setattr(usage, "route_template", lambda pattern: "/api/v1/" + "x" * 400)
    assert client.get(PAYMENTS).status_code == 200
    assert [len(route) for route in counted(row)] == [160]
