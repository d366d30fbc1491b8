"""Events over HTTP: what tenants hand in is stored and told, or refused with nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from integrations.contracts import clock as hub_clock
from integrations.messaging.models import NotificationRule
from integrations.models import IdempotencyRecord, QueueItem, Role, Tenant
from tests import factories
from webhooks.outbound.models import Delivery, DeliveryState, Event

pytestmark = pytest.mark.django_db

EVENTS = "/api/v1/events"
TYPES = "/api/v1/webhooks/event-types"
TEST = "/api/v1/webhooks/filters/test"
ORDER: dict[str, Any] = {"id": "42", "total": 5390, "currency": "KES", "items": [{"product": "print", "quantity": 2}]}
GOOD: dict[str, Any] = {"type": "order.created", "data": ORDER}


def errors(answer: Any) -> dict[str, str]:
    assert answer.status_code == 400, answer.content
    return {each["attr"]: each["detail"] for each in answer.json()["errors"]}


# --- Publishing -----------------------------------------------------------------------------------------------------------


def test_an_order_is_handed_over(admin_api: APIClient, tenant: Tenant) -> None:
    endpoint = factories.make_endpoint(tenant)
    answer = admin_api.post(
        EVENTS, {**GOOD, "channels": ["eu", "eu", "prints"], "reference": {"type": "order", "id": "42"}, "key": "order-42"}
    )
    assert answer.status_code == 201, answer.content
    event = Event.unscoped.get()
    assert answer.json() == {
        "id": event.pk,
        "type": "order.created",
        "version": 1,
        "created": answer.json()["created"],
        "channels": ["eu", "prints"],
        "reference": {"type": "order", "id": "42"},
        "key": "order-42",
        "erased_at": None,
        "deliveries": 1,
    }
    body = json.loads(event.payload)
    assert (body["id"], body["type"], body["data"]) == (event.pk, "order.created", {"object": ORDER})
    shown = admin_api.get(f"{EVENTS}/{event.pk}").json()
    assert shown["body"] == body
    assert [each["endpoint"] for each in shown["deliveries"]] == [endpoint.pk]
    assert admin_api.get(EVENTS).json()["results"] == [answer.json()]


def test_notification_rules_hear_of_it(admin_api: APIClient, tenant: Tenant) -> None:
    factories.make_notification_rule(tenant)
    NotificationRule.unscoped.update(
        event_type="order.*", conditions={}, audience=NotificationRule.Audience.FIXED, addresses="+254712345678"
    )
    assert admin_api.post(EVENTS, {**GOOD, "key": "42"}).status_code == 201
    assert admin_api.post(EVENTS, {**GOOD, "key": "42"}).status_code == 200
    assert QueueItem.unscoped.filter(tenant=tenant, kind="message.notify").count() == 1


def test_a_key_makes_it_one_event_for_good(admin_api: APIClient) -> None:
    first = admin_api.post(EVENTS, {**GOOD, "key": "42"})
    second = admin_api.post(EVENTS, {**GOOD, "key": "42", "data": {**ORDER, "total": 1}})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert admin_api.post(EVENTS, {**GOOD, "key": "43"}).status_code == 201
    assert admin_api.post(EVENTS, {**GOOD, "type": "order.updated", "key": "42"}).status_code == 201
    assert Event.unscoped.count() == 3


def test_an_idempotency_key_repeats_the_answer(admin_api: APIClient) -> None:
    first, second = (admin_api.post(EVENTS, GOOD, headers={"Idempotency-Key": "a"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert admin_api.post(EVENTS, {**GOOD, "key": "x"}, headers={"Idempotency-Key": "a"}).status_code == 422
    assert Event.unscoped.count() == 1
    assert admin_api.post(EVENTS, GOOD).status_code == 201
    assert Event.unscoped.count() == 2


def test_a_repeated_request_whose_answer_was_lost_finds_its_event(admin_api: APIClient) -> None:
    first = admin_api.post(EVENTS, GOOD, headers={"Idempotency-Key": "a"})
    IdempotencyRecord.unscoped.update(status_code=None, sealed_response="", lease=None)
    again = admin_api.post(EVENTS, GOOD, headers={"Idempotency-Key": "a"})
    assert (again.status_code, again.json()) == (201, first.json())
    assert Event.unscoped.count() == 1


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    ("change", "attr"),
    [
        ({"type": None}, "type"),
        ({"type": "Order.created"}, "type"),
        ({"type": "order"}, "type"),
        ({"type": "order.*"}, "type"),
        ({"type": "x." + "y" * 100}, "type"),
        ({"type": "payment.completed"}, "type"),
        ({"type": "payment.made_up"}, "type"),
        ({"type": "message.delivered"}, "type"),
        ({"type": "payer.stored"}, "type"),
        ({"type": "webhook.test"}, "type"),
        ({"type": "lab_order.shipped"}, "type"),
        ({"data": None}, "data"),
        ({"data": []}, "data"),
        ({"data": "text"}, "data"),
        ({"data": {}}, "data.id"),
        ({"data": {"id": "1"}}, "data.items"),
        ({"data": {**ORDER, "id": 42}}, "data.id"),
        ({"data": {**ORDER, "total": "53.90"}}, "data.total"),
        ({"data": {**ORDER, "total": True}}, "data.total"),
        ({"data": {"id": "1", "items": [], "total": 5}}, "data.currency"),
        ({"data": {**ORDER, "items": [{"product": "print", "quantity": 0}]}}, "data.items.0.quantity"),
        ({"data": {**ORDER, "items": [ORDER["items"][0], {"quantity": 1}]}}, "data.items.1.product"),
        ({"data": {**ORDER, "note": "a\x00b"}}, "data"),
        ({"data": {**ORDER, "a\x00b": 1}}, "data"),
        ({"data": {**ORDER, "more": deep(51)}}, "data"),
        ({"data": {**ORDER, "note": "x" * 256 * 1024}}, "data"),
        ({"data": {**ORDER, "note": "é" * 50_000}}, "data"),
        ({"channels": "eu"}, "channels"),
        ({"channels": [str(number) for number in range(21)]}, "channels"),
        ({"channels": ["x" * 101]}, "channels.0"),
        ({"channels": [{"a": 1}]}, "channels.0"),
        ({"reference": {"type": "order"}}, "reference.id"),
        ({"reference": {"type": "x" * 41, "id": "1"}}, "reference.type"),
        ({"reference": {"type": "order", "id": "x" * 101}}, "reference.id"),
        ({"reference": "order"}, "reference.non_field_errors"),
        ({"key": "x" * 201}, "key"),
        ({"key": "a\x00"}, "key"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_refused_and_where(admin_api: APIClient, tenant: Tenant, change: dict[str, Any], attr: str) -> None:
    factories.make_endpoint(tenant)
    assert attr in errors(admin_api.post(EVENTS, {**GOOD, **change}))
    assert (Event.unscoped.count(), Delivery.unscoped.count()) == (0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b'{"id": "1", "items": [], "a": NaN}',
        b'{"id": "1", "items": [], "a": Infinity}',
        b'{"id": "1", "items": [], "a": 1e999}',
        b'{"id": "1", "items": [], "a": "\\ud800"}',
        b'{"id": "1", "items": [], "\\udfff": 1}',
        b'{"id": "1", "items": [], "a": ' + b"9" * 5000 + b"}",
        b'{"id": "1", "items": [], "a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"id": "1", "items": [], "a": "\xff"}',
    ],
)
def test_what_is_no_json_is_refused(admin_api: APIClient, data: bytes) -> None:
    body = b'{"type": "order.created", "data": ' + data + b"}"
    answer = admin_api.generic("POST", EVENTS, body, content_type="application/json")
    assert answer.status_code == 400, answer.content
    assert Event.unscoped.count() == 0


def test_odd_but_honest_bodies_are_told_as_they_are(admin_api: APIClient) -> None:
    data = {
        **ORDER,
        "": None,
        "big": 10**400,
        "tiny": 5e-324,
        "text": "\u2028 🎓 \u0085",
        "more": deep(40),
        "\\u0000": "\\ud800",
    }
    assert admin_api.post(EVENTS, {**GOOD, "data": data}).status_code == 201
    event = Event.unscoped.get()
    assert json.loads(event.payload)["data"]["object"] == data
    assert admin_api.get(f"{EVENTS}/{event.pk}").json()["body"]["data"]["object"] == data


def test_a_type_that_nobody_defined_is_told_unchecked(admin_api: APIClient) -> None:
    assert admin_api.post(EVENTS, {"type": "booking.created", "data": {"any": ["thing"]}}).status_code == 201


def test_a_type_of_ones_own_is_checked_and_ends_when_archived(
    admin_api: APIClient, api: Callable[..., APIClient], other_tenant: Tenant
) -> None:
    made = admin_api.post(TYPES, {"name": "booking.created", "schema": {"required": ["id"]}, "example": {"id": 1}})
    assert made.status_code == 201, made.content
    booking = {"type": "booking.created", "data": {"id": 7}}
    assert errors(admin_api.post(EVENTS, {**booking, "data": {}})).keys() == {"data.id"}
    assert admin_api.post(EVENTS, booking).json()["version"] == 1
    assert admin_api.delete(f"{TYPES}/booking.created").status_code == 204
    assert "archived" in errors(admin_api.post(EVENTS, booking))["type"]
    assert api(other_tenant).post(EVENTS, {**booking, "data": {}}).status_code == 201


def test_scopes_and_roles(admin_api: APIClient, api: Callable[..., APIClient], tenant: Tenant) -> None:
    reading, writing = api(tenant, scopes=["events:read"]), api(tenant, scopes=["events:write"])
    event_id = writing.post(EVENTS, GOOD).json()["id"]
    assert reading.post(EVENTS, GOOD).status_code == 403
    assert reading.get(EVENTS).status_code == 200
    assert reading.delete(f"{EVENTS}/{event_id}/payload").status_code == 403
    assert writing.get(f"{EVENTS}/{event_id}").status_code == 403
    assert api(tenant, scopes=["webhooks"]).get(EVENTS).status_code == 403
    auditor, staff = api(tenant, Role.AUDITOR), api(tenant, Role.STAFF)
    assert (auditor.get(EVENTS).status_code, auditor.post(EVENTS, GOOD).status_code) == (200, 403)
    assert (staff.get(EVENTS).status_code, staff.post(EVENTS, GOOD).status_code) == (403, 403)
    assert Event.unscoped.count() == 1


# --- Reading and erasing --------------------------------------------------------------------------------------------------


def test_the_list_is_filtered_and_paged(admin_api: APIClient, clock: factories.MovableClock) -> None:
    ids = []
    for number in range(4):
        body = {
            **GOOD,
            "type": ["order.created", "order.updated"][number % 2],
            "reference": {"type": "order", "id": str(number)},
        }
        ids.append(admin_api.post(EVENTS, body).json()["id"])
        clock.advance(60)

    def listed(**query: Any) -> list[str]:
        answer = admin_api.get(EVENTS, query)
        assert answer.status_code == 200, answer.content
        return [each["id"] for each in answer.json()["results"]]

    assert listed() == ids[::-1]
    assert listed(type="order.updated") == [ids[3], ids[1]]
    assert listed(object_type="order", object_id="2") == [ids[2]]
    start = factories.START.isoformat()
    assert listed(created_before=start) == []
    second = (factories.START.replace(minute=1)).isoformat()
    assert listed(created_after=second) == [ids[3], ids[2], ids[1]]
    assert listed(created_before=second) == [ids[0]]
    page = admin_api.get(EVENTS, {"page_size": 3}).json()
    assert [each["id"] for each in page["results"]] == ids[:0:-1]
    assert [each["id"] for each in admin_api.get(page["next"]).json()["results"]] == ids[:1]
    assert errors(admin_api.get(EVENTS, {"created_after": "yesterday"})).keys() == {"created_after"}


def test_lists_ask_the_database_no_more_for_more_events(admin_api: APIClient, tenant: Tenant) -> None:
    factories.make_endpoint(tenant)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            rows = admin_api.get(EVENTS).json()["results"]
        assert [row["deliveries"] for row in rows] == [1] * Event.unscoped.count()
        return len(captured)

    admin_api.post(EVENTS, GOOD)
    queries()  # the first request of a key writes down that it was used
    one = queries()
    for _ in range(4):
        admin_api.post(EVENTS, GOOD)
    assert queries() == one


def test_a_payload_is_erased(admin_api: APIClient, tenant: Tenant) -> None:
    factories.make_endpoint(tenant)
    event_id = admin_api.post(EVENTS, GOOD).json()["id"]
    Delivery.unscoped.update(lease_until=hub_clock.now().replace(year=2999))
    busy = admin_api.delete(f"{EVENTS}/{event_id}/payload")
    assert (busy.status_code, busy.json()["errors"][0]["code"]) == (409, "provider_conflict")
    Delivery.unscoped.update(lease_until=None)
    assert admin_api.delete(f"{EVENTS}/{event_id}/payload").status_code == 204
    assert admin_api.delete(f"{EVENTS}/{event_id}/payload").status_code == 204
    shown = admin_api.get(f"{EVENTS}/{event_id}").json()
    assert shown["body"] is None
    assert shown["erased_at"] is not None
    assert [each["state"] for each in shown["deliveries"]] == [DeliveryState.FAILED]
    assert "payload" in errors(admin_api.post(TEST, {"filter": {}, "event": event_id}))["event"]
