"""Who changed what: each change of keys and accounts is written down with its doer, and no secret with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.configs import services
from integrations.models import ApiKey, AuditEntry, Role, Tenant
from integrations.tenancy import audit
from tests.factories import MovableClock, demo_values, make_client, make_config

pytestmark = pytest.mark.django_db
AUDIT = "/api/v1/integrations/audit"
CONFIGS = "/api/v1/integrations/configs"
SECRET = "canary-51ab7720"
WithKey = Callable[..., tuple[APIClient, ApiKey]]


def entries(**filters: Any) -> list[tuple[str, str]]:
    return list(AuditEntry.unscoped.filter(**filters).order_by("id").values_list("actor", "action"))


def test_an_accounts_life_is_written_down_without_its_values(with_key: WithKey) -> None:
    client, _row = with_key("Accounting")
    values = {**demo_values("africastalking", "school"), "api_key": SECRET}
    body = {"provider": "africastalking", "environment": "simulator", "values": values, "label": "Main"}
    made = client.post(CONFIGS, body)
    assert made.status_code == 201, made.content
    url = f"{CONFIGS}/{made.json()['id']}"
    assert client.patch(url, {"label": "First"}).status_code == 200
    assert client.patch(url, {"values": {"api_key": f"{SECRET}-new"}}).status_code == 200
    assert client.patch(url, {"label": "First"}).status_code == 200, "nothing changed: nothing to write"
    assert client.post(f"{url}/primary", {}).status_code == 200
    assert client.delete(url).status_code == 204
    assert entries() == [
        ("key Accounting", "config.created"),
        ("key Accounting", "config.updated"),
        ("key Accounting", "config.credentials_changed"),
        ("key Accounting", "config.made_primary"),
        ("key Accounting", "config.deleted"),
    ]
    rows = list(AuditEntry.unscoped.order_by("id"))
    assert {(row.object_type, row.object_id) for row in rows} == {("config", str(made.json()["id"]))}
    assert (rows[0].changes["api_key"], rows[0].changes["username"]) == ([audit.MASKED] * 2, [audit.MASKED] * 2)
    assert rows[1].changes == {"label": ["Main", "First"]}
    assert rows[2].changes == {"api_key": [audit.MASKED, audit.MASKED]}
    kept = json.dumps([row.changes for row in rows])
    assert SECRET not in kept
    assert str(values["username"]) not in kept


def test_what_is_refused_or_undone_is_not_written(tenant: Tenant, with_key: WithKey) -> None:
    client, _row = with_key()
    body = {"provider": "africastalking", "environment": "simulator", "values": {}}
    assert client.post(CONFIGS, body).status_code == 400
    assert entries() == []


def test_outside_of_a_request_it_is_the_hub(tenant: Tenant) -> None:
    config = make_config(tenant, "africastalking")
    services.update_config(config=config, is_active=False)
    assert entries() == [("the hub", "config.created"), ("the hub", "config.updated")]
    with audit.acting(audit.Actor("portal link 7", "203.0.113.9")):
        services.update_config(config=config, is_active=True)
    last = AuditEntry.unscoped.latest("id")
    assert (last.actor, last.ip, last.changes) == ("portal link 7", "203.0.113.9", {"is_active": [False, True]})
    assert audit.current_actor() == audit.HUB


def test_the_route_lists_filters_and_shows_nothing_foreign(
    with_key: WithKey, tenant: Tenant, other_tenant: Tenant, clock: MovableClock
) -> None:
    client, _row = with_key("Accounting")
    make_config(other_tenant, "africastalking", account="studio")
    first = make_config(tenant, "africastalking")
    clock.advance(hours=1)
    made = client.post("/api/v1/apikeys", {"name": "Library"}).json()

    def found(query: str = "") -> list[str]:
        answer = client.get(f"{AUDIT}?{query}")
        assert answer.status_code == 200, answer.content
        return [each["action"] for each in answer.json()["results"]]

    assert found() == ["api_key.created", "config.created"]
    assert found("actor=accounting") == ["api_key.created"]
    assert found("actor=the+hub") == ["config.created"]
    assert found("action=config.created") == ["config.created"]
    assert found("object_type=api_key") == ["api_key.created"]
    assert found(f"object_type=config&object_id={first.pk}") == ["config.created"]
    assert found(f"object_id={made['id']}") == ["api_key.created"]
    assert found("created_after=2026-11-20T10:00:00Z") == ["api_key.created"]
    assert found("created_before=2026-11-20T10:00:00Z") == ["config.created"]
    assert client.get(f"{AUDIT}?created_after=yesterday").status_code == 400
    entry = client.get(f"{AUDIT}?object_type=api_key").json()["results"][0]
    assert entry["changes"] == {"name": [None, "Library"], "role": [None, "admin"]}
    assert (entry["actor"], entry["ip"], entry["object_name"]) == ("key Accounting", "127.0.0.1", "Library")
    assert made["key"] not in json.dumps(entry)


@pytest.mark.parametrize(("role", "status"), [(Role.ADMIN, 200), (Role.AUDITOR, 200), (Role.STAFF, 403)])
def test_who_reads_it(role: Role, status: int, tenant: Tenant) -> None:
    client = make_client(tenant, role)
    assert client.get(AUDIT).status_code == status
    assert client.delete(AUDIT).status_code in (403, 405)
    assert client.post(AUDIT, {}).status_code in (403, 405)


def test_pages_do_not_repeat_or_lose_an_entry(with_key: WithKey, tenant: Tenant) -> None:
    client, _row = with_key()
    for number in range(7):
        audit.record(tenant_id=tenant.pk, action="x", object_type="x", object_id=str(number))
    seen, url = [], f"{AUDIT}?page_size=3"
    while url:
        page = client.get(url).json()
        seen += [each["object_id"] for each in page["results"]]
        url = page["next"]
    assert seen == [str(number) for number in reversed(range(7))]


def test_a_span_is_written_with_the_hubs_clock(tenant: Tenant, clock: MovableClock) -> None:
    audit.record(tenant_id=tenant.pk, action="x", object_type="x", object_id="1")
    clock.advance(days=1)
    audit.record(tenant_id=tenant.pk, action="x", object_type="x", object_id="2")
    first, second = AuditEntry.unscoped.order_by("id").values_list("created", flat=True)
    assert second - first == timedelta(days=1)
