"""What a body looks like in each format: the key sets that automation tools rely on, and batches byte for byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from webhooks.outbound.event_types import CATALOGUE, EventType
from webhooks.outbound.models import PayloadFormat
from webhooks.outbound.publishing import formats

CREATED = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
EACH_TYPE = pytest.mark.parametrize("event_type", CATALOGUE, ids=lambda each: each.name)


def stored(event_type: EventType) -> str:
    return formats.standard("evt_1", event_type.name, CREATED, event_type.example)


@EACH_TYPE
def test_the_standard_form_is_what_is_stored(event_type: EventType) -> None:
    text = stored(event_type)
    assert formats.render(text, PayloadFormat.STANDARD) == text
    body = json.loads(text)
    assert list(body) == ["id", "type", "created", "data"]
    assert body == {
        "id": "evt_1",
        "type": event_type.name,
        "created": "2024-01-15T10:30:00Z",
        "data": {"object": event_type.example},
    }


@EACH_TYPE
def test_the_flat_form_has_the_members_that_automation_tools_map(event_type: EventType) -> None:
    body = json.loads(formats.render(stored(event_type), PayloadFormat.FLAT))
    assert list(body) == ["id", "event", "occurred_at", "data"]
    assert body == {
        "id": "evt_1",
        "event": event_type.name,
        "occurred_at": "2024-01-15T10:30:00Z",
        "data": event_type.example,
    }


def test_the_flat_form_keeps_nulls_and_the_order_of_members() -> None:
    text = formats.standard("evt_1", "order.created", CREATED, {"b": None, "a": [], "c": {"z": None}})
    assert formats.render(text, "flat") == (
        '{"id":"evt_1","event":"order.created","occurred_at":"2024-01-15T10:30:00Z","data":{"b":null,"a":[],"c":{"z":null}}}'
    )


@pytest.mark.parametrize("payload_format", PayloadFormat.values)
def test_numbers_and_texts_survive_as_they_were(payload_format: str) -> None:
    content: dict[str, Any] = {"big": 10**30, "small": 1e-7, "text": "Wanjirũ 🎓", "cost": Decimal("1.50"), "": ""}
    text = formats.standard("evt_1", "order.created", CREATED, content)
    rendered = formats.render(text, payload_format)
    assert rendered.isascii()
    data = json.loads(rendered)["data"]
    data = data if payload_format == "flat" else data["object"]
    assert data == {**content, "cost": "1.50"}
    assert formats.render(text, payload_format) == rendered


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_json_number_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        formats.dump({"a": number})


def test_a_batch_holds_its_events_as_they_are() -> None:
    one, two = '{"id":"evt_1","data":{"object":{"a":"]}"}}}', '{"id":"evt_2"}'
    assert formats.batch("dlv_1", CREATED, [one, two]) == (
        f'{{"id":"dlv_1","type":"batch","created":"2024-01-15T10:30:00Z","events":[{one},{two}]}}'
    )


@pytest.mark.parametrize("payload_format", PayloadFormat.values)
def test_a_batch_of_everything_is_json(payload_format: str) -> None:
    payloads = [formats.render(stored(each), payload_format) for each in CATALOGUE]
    body = json.loads(formats.batch("dlv_1", CREATED, payloads))
    assert list(body) == ["id", "type", "created", "events"]
    assert (body["id"], body["type"], body["created"]) == ("dlv_1", formats.BATCH_TYPE, "2024-01-15T10:30:00Z")
    assert body["events"] == [json.loads(payload) for payload in payloads]


def test_a_batch_of_none_is_json_too() -> None:
    assert json.loads(formats.batch("dlv_1", CREATED, []))["events"] == []


def test_times_are_utc_whatever_they_were() -> None:
    assert formats.iso(datetime(2024, 1, 15, 13, 30, 0, 999_999, tzinfo=ZoneInfo("Africa/Nairobi"))) == "2024-01-15T10:30:00Z"
