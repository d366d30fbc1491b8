"""Types of events and filters over HTTP: the catalogue, a tenant's own types from first to last day, and trying filters out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.models import Tenant
from tests.api.test_events import EVENTS, GOOD, ORDER, TEST, TYPES, deep, errors
from webhooks.outbound.event_types import CATALOGUE
from webhooks.outbound.models import Event, EventTypeDefinition

pytestmark = pytest.mark.django_db


# --- Types ----------------------------------------------------------------------------------------------------------------


def test_the_catalogue_and_then_ones_own(admin_api: APIClient, api: Callable[..., APIClient], other_tenant: Tenant) -> None:
    for name in ("booking.created", "a.b", "old.one"):
        assert admin_api.post(TYPES, {"name": name}).status_code == 201
    admin_api.delete(f"{TYPES}/old.one")
    hub = [(each.name, "hub") for each in CATALOGUE]
    rows = admin_api.get(TYPES).json()
    assert [(row["type"], row["source"]) for row in rows] == [*hub, ("a.b", "own"), ("booking.created", "own")]
    every = admin_api.get(TYPES, {"archived": "true"}).json()
    assert [row["type"] for row in every if row["archived"]] == ["old.one"]
    assert errors(admin_api.get(TYPES, {"archived": "maybe"})).keys() == {"archived"}
    assert {row["type"] for row in rows if row["publishable"]} >= {"order.created", "gallery.delivered", "a.b"}
    assert [row["source"] for row in api(other_tenant).get(TYPES).json()] == ["hub"] * len(CATALOGUE)


def test_a_type_from_its_first_day_to_its_last(admin_api: APIClient) -> None:
    schema = {"required": ["id"], "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}
    given = {"name": "booking.created", "description": "A seat was booked.", "schema": schema, "example": {"id": 1, "n": 2}}
    made = admin_api.post(TYPES, given)
    one = f"{TYPES}/booking.created"
    assert made.status_code == 201
    assert made.json() == admin_api.get(one).json()
    body = made.json()
    assert (body["version"], body["data_schema"], body["data_example"]) == (1, schema, {"id": 1, "n": 2})
    assert body["schema"]["$defs"] == {"n": {"type": "integer"}}
    assert body["example"]["data"] == {"object": {"id": 1, "n": 2}}

    assert admin_api.post(TYPES, given).status_code == 409
    changed = admin_api.put(one, {"deprecated": True, "deprecation_note": "Use booking.made.", "schema": {"required": ["no"]}})
    assert changed.status_code == 200
    assert (changed.json()["version"], changed.json()["deprecated"], changed.json()["example"]) == (2, True, None)
    assert errors(admin_api.post(EVENTS, {"type": "booking.created", "data": {"id": 1}})).keys() == {"data.no"}
    assert admin_api.post(EVENTS, {"type": "booking.created", "data": {"no": 1}}).json()["version"] == 2

    assert admin_api.delete(one).status_code == 204
    assert admin_api.delete(one).status_code == 404
    assert admin_api.put(one, {}).status_code == 409
    assert admin_api.get(one).json()["archived"] is True
    assert admin_api.post(TYPES, given).json()["version"] == 3


def test_making_a_type_is_repeated_safely(admin_api: APIClient) -> None:
    first, second = (admin_api.post(TYPES, {"name": "a.b"}, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()


@pytest.mark.parametrize(
    ("change", "attr"),
    [
        ({"name": "payment.mine"}, "name"),
        ({"name": "order.created"}, "name"),
        ({"name": "NoName"}, "name"),
        ({"name": "x." + "y" * 100}, "name"),
        ({"schema": []}, "schema"),
        ({"schema": {"type": "txt"}}, "schema"),
        ({"schema": {"pattern": "(a+)+$"}}, "schema"),
        ({"schema": {"$ref": "http://169.254.169.254/latest"}}, "schema"),
        ({"schema": {"title": "a\x00"}}, "schema"),
        ({"example": [1]}, "example"),
        ({"example": {"a": "\x00"}}, "example"),
        ({"schema": {"required": ["id"]}, "example": {}}, "example.id"),
        ({"description": "x" * 501}, "description"),
        ({"deprecation_note": "x" * 301}, "deprecation_note"),
        ({"deprecated": "perhaps"}, "deprecated"),
        ({"version": 5}, "version"),
    ],
)
def test_types_that_are_refused(admin_api: APIClient, change: dict[str, Any], attr: str) -> None:
    assert attr in errors(admin_api.post(TYPES, {"name": "booking.created", **change}))
    assert EventTypeDefinition.unscoped.count() == 0


def test_the_hubs_types_can_be_read_and_no_more(admin_api: APIClient) -> None:
    one = f"{TYPES}/payment.completed"
    assert admin_api.get(one).json()["data_schema"]["type"] == "object"
    assert errors(admin_api.put(one, {})).keys() == {"name"}
    assert errors(admin_api.delete(one)).keys() == {"name"}
    for name in ("nobody.knows", "x..", "x."):
        assert admin_api.get(f"{TYPES}/{name}").status_code == 404
        assert admin_api.put(f"{TYPES}/{name}", {}).status_code == 404


# --- Trying filters out ---------------------------------------------------------------------------------------------------


def test_a_filter_is_tried_out(admin_api: APIClient, tenant: Tenant) -> None:
    event_id = admin_api.post(EVENTS, GOOD).json()["id"]
    large = {"data": {"object": {"currency": "KES", "total": {"$gt": 5000}}}}
    for what in ({"event": event_id}, {"body": {"data": {"object": ORDER}}}, {"type": "order.created"}):
        answer = admin_api.post(TEST, {"filter": large, **what})
        assert (answer.status_code, answer.json()) == (200, {"matches": True, "reason": None}), what
    small = {"data.object.currency": "KES", "data.object.total": {"$lt": 5000}}
    answer = admin_api.post(TEST, {"filter": small, "event": event_id})
    assert answer.json() == {"matches": False, "reason": "data.object.total.$lt"}
    with scope(tenant=tenant):
        EventTypeDefinition.objects.create(tenant=tenant, name="a.b", example={"n": 1})
    assert admin_api.post(TEST, {"filter": {"data.object.n": 1}, "type": "a.b"}).json()["matches"] is True
    assert Event.unscoped.count() == 1


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({}, "filter"),
        ({"filter": [], "body": {}}, "filter"),
        ({"filter": {"a": {"$above": 1}}, "body": {}}, "filter"),
        ({"filter": {"a": "\x00"}, "body": {}}, "filter"),
        ({"filter": deep(30), "body": {}}, "filter"),
        ({"filter": {}}, "non_field_errors"),
        ({"filter": {}, "body": {}, "type": "order.created"}, "non_field_errors"),
        ({"filter": {}, "body": []}, "body"),
        ({"filter": {}, "event": "evt_00000000000000000000000000"}, "event"),
        ({"filter": {}, "event": 5.5}, "event"),
        ({"filter": {}, "event": "\x00"}, "event"),
        ({"filter": {}, "type": "nobody.knows"}, "type"),
    ],
)
def test_trials_that_are_refused(admin_api: APIClient, body: dict[str, Any], attr: str) -> None:
    assert attr in errors(admin_api.post(TEST, body))
