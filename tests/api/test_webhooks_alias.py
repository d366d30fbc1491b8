"""The other names of the webhooks' routes, dispatching to one endpoint, and the deliveries of all of them."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.models import AuditEntry, Role, Tenant
from tests.factories import make_client, make_delivery, make_endpoint, make_log
from webhooks.outbound.models import Delivery, Endpoint, Event, EventTypeDefinition

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/integration"


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    return make_endpoint(tenant, events=["payment.failed"])


@pytest.mark.parametrize("prefix", ["/api/v1/integration/webhooks", "/api/integration/webhooks"])
def test_the_same_endpoints_under_another_name(admin_api: APIClient, prefix: str) -> None:
    made = admin_api.post(prefix, {"url": "https://a.example/hook", "events": ["*"]}, format="json")
    assert made.status_code == 201, made.content
    one = made.json()["id"]
    assert admin_api.get(f"{prefix}/{one}").json() == admin_api.get(f"/api/v1/webhooks/{one}").json()
    assert admin_api.get(prefix).json()["results"] == admin_api.get("/api/v1/webhooks").json()["results"]
    assert admin_api.patch(f"{prefix}/{one}", {"name": "Fees"}, format="json").json()["name"] == "Fees"
    assert admin_api.delete(f"{prefix}/{one}").status_code == 204
    assert admin_api.get(f"/api/v1/webhooks/{one}").status_code == 404


def test_the_log_under_another_name(admin_api: APIClient, tenant: Tenant) -> None:
    make_log(tenant, external_reference="abc")
    for query in ({}, {"external_reference": "abc"}, {"external_reference": "none"}):
        one, other = (
            admin_api.get(f"/api/v1/{name}/logs", query).json()["results"] for name in ("integration", "integrations")
        )
        assert one == other
    assert len(admin_api.get(f"{ROOT}/logs").json()["results"]) == 1


def test_the_deliveries_of_all_endpoints(admin_api: APIClient, tenant: Tenant, other_tenant: Tenant) -> None:
    one, two = make_endpoint(tenant), make_endpoint(tenant)
    make_delivery(make_endpoint(other_tenant))
    make_delivery(one)
    last = make_delivery(one)  # a delivery of `two` as well
    Delivery.unscoped.filter(pk=last.pk).update(state="failed", dead_reason="gone")

    def ids(**query: Any) -> set[str]:
        answer = admin_api.get(f"{ROOT}/deliveries", query)
        assert answer.status_code == 200, answer.content
        return {row["id"] for row in answer.json()["results"]}

    assert len(ids()) == 4
    assert {row["endpoint"] for row in admin_api.get(f"{ROOT}/deliveries").json()["results"]} == {one.pk, two.pk}
    assert ids(state="failed") == ids(dead_reason="gone") == {last.pk}
    assert len(ids(endpoint=two.pk)) == len(ids(event=last.event_id)) == 2
    assert len(ids(type="payment.completed")) == 4
    assert ids(type="payment.failed") == ids(created_before="2020-01-01T00:00:00Z") == set()
    assert len(ids(created_after="2020-01-01T00:00:00Z")) == 4
    admin_api.delete(f"/api/webhooks/{one.pk}")
    assert len(ids()) == 4, "what was sent to an endpoint that is gone can still be read"
    for bad in ({"state": "lost"}, {"created_after": "yesterday"}, {"dead_reason": "bored"}):
        assert admin_api.get(f"{ROOT}/deliveries", bad).status_code == 400


def test_an_event_for_one_endpoint_alone(admin_api: APIClient, tenant: Tenant, endpoint: Endpoint) -> None:
    make_endpoint(tenant, events=["*"])
    url = f"{ROOT}/webhooks/{endpoint.pk}/dispatch"
    key = {"Idempotency-Key": "d1"}
    first = admin_api.post(url, {"type": "booking.made", "data": {"id": "B-1"}}, format="json", headers=key)
    assert first.status_code == 202, first.content
    again = admin_api.post(url, {"type": "booking.made", "data": {"id": "B-1"}}, format="json", headers=key)
    assert again.json() == first.json()
    delivery = Delivery.unscoped.get()
    assert (delivery.endpoint_id, delivery.state, delivery.attempts_allowed) == (endpoint.pk, "pending", 12)
    assert delivery.event.payload.endswith('"type":"booking.made","created":' + delivery.event.payload.split('"created":')[1])
    assert '{"object":{"id":"B-1"}}' in delivery.event.payload

    test = admin_api.post(url, {}, format="json").json()
    assert test["type"] == "webhook.test"
    assert Delivery.unscoped.get(pk=test["id"]).attempts_allowed == 1


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"type": "payment.completed", "data": {"id": "x"}}, "type"),
        ({"type": "webhook.test", "data": {}}, "type"),
        ({"type": "no type"}, "type"),
        ({"type": "booking.made", "data": [1]}, "data"),
        ({"type": "booking.made", "data": {"a": "\x00"}}, "data"),
        ({"type": "booking.checked", "data": {"id": 5}}, "data.id"),
        ({"data": {"id": "x"}}, "type"),
        ({"kind": "booking.made"}, "kind"),
    ],
)
def test_what_cant_be_dispatched(
    admin_api: APIClient, tenant: Tenant, endpoint: Endpoint, body: dict[str, Any], attr: str
) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "string"}}}
    EventTypeDefinition.unscoped.create(tenant=tenant, name="booking.checked", schema=schema)
    answer = admin_api.post(f"{ROOT}/webhooks/{endpoint.pk}/dispatch", body, format="json")
    assert answer.status_code == 400, answer.content
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]
    assert Event.unscoped.count() == 0


def test_nothing_is_dispatched_to_what_is_off(admin_api: APIClient, tenant: Tenant) -> None:
    endpoint = make_endpoint(tenant, is_active=False)
    assert admin_api.post(f"{ROOT}/webhooks/{endpoint.pk}/dispatch", {}, format="json").status_code == 409
    assert Event.unscoped.count() == 0


def test_who_may_see_whole_urls(tenant: Tenant, admin_api: APIClient) -> None:
    """The values of a query may be tokens: whoever may change the URL sees them, whoever may only read does not."""
    url = "https://a.example/hook?token=canary-1&x=2&flag"
    endpoint = make_endpoint(tenant, url=url)
    clients = {
        "admin": admin_api,
        "writer": make_client(tenant, scopes=["webhooks:write", "webhooks:read"]),
        "auditor": make_client(tenant, Role.AUDITOR),
        "reader": make_client(tenant, scopes=["webhooks:read"]),
    }
    masked = "https://a.example/hook?token=••••&x=••••&••••"
    for name, client in clients.items():
        expected = url if name in ("admin", "writer") else masked
        assert client.get(f"/api/webhooks/{endpoint.pk}").json()["url"] == expected, name
        assert client.get("/api/webhooks").json()["results"][0]["url"] == expected, name
    answer = admin_api.patch(f"/api/webhooks/{endpoint.pk}", {"url": masked}, format="json")
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "url")
    admin_api.patch(f"/api/webhooks/{endpoint.pk}", {"url": "https://a.example/hook?token=canary-2"}, format="json")
    assert Endpoint.unscoped.get().url.endswith("canary-2")
    assert "canary" not in str(list(AuditEntry.unscoped.values_list("changes", flat=True)))
