"""Receive order webhook: a shop's system posts a signed order, the school's own system gets it as a signed event."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from django.db import connections
from rest_framework.test import APIClient

from integrations.models import CallLog, QueueItem, Tenant
from integrations.simulators import running_simulators
from tests.factories import make_client
from webhooks.inbound.models import InboundEndpoint, Receipt
from webhooks.outbound.models import Event

pytestmark = pytest.mark.django_db(transaction=True)
SOURCES = "/api/v1/integrations/inbound-endpoints"
ORDER = {
    "topic": "orders/create",
    "data": {
        "order": {"no": "ord_1001", "sum": 450_000, "currency": "KES"},
        "lines": [{"product": "print-20x30", "quantity": 2}],
    },
}
SOURCE = {
    "name": "Shop",
    "scheme": "hmac",
    "options": {"header": "X-Shop-Signature", "timestamp_header": "X-Shop-Time", "prefix": "sha256="},
    "type_path": "body:topic",
    "event_types": {"orders/create": "order.created"},
    "dedupe_path": "header:X-Shop-Event",
    "fields": {
        "id": "data.order.no",
        "total": "data.order.sum",
        "currency": "data.order.currency",
        "items": "data.lines",
    },
}


def another(note: str) -> dict[str, Any]:
    """Another order: two of the same body, signed within the same second, would be one request."""
    return {**ORDER, "note": note}


class Shop:
    """The sender: signs what it says with the secret that it was given."""

    def __init__(self, api: APIClient) -> None:
        made = api.post(SOURCES, SOURCE, format="json")
        assert made.status_code == 201, made.json()
        self.id: str = made.json()["id"]
        self.url: str = made.json()["urls"][0]["url"]
        self.secret: str = made.json()["secret"]

    def signed(self, content: Any = ORDER, *, event: str = "e-1", at: float | None = None) -> tuple[bytes, dict[str, str]]:
        body, stamp = json.dumps(content).encode(), str(int(at or time.time()))
        signature = hmac.new(self.secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        headers = {"X-Shop-Signature": f"sha256={signature}", "X-Shop-Time": stamp, "X-Shop-Event": event}
        return body, {**headers, "Content-Type": "application/json"}

    def send(self, body: bytes, headers: dict[str, str]) -> requests.Response:
        return requests.post(self.url, data=body, headers=headers, timeout=10)


@pytest.fixture
def own_system(
    tenant: Tenant, simulators: running_simulators, live_server: Any, settings: Any, transactional_db: None
) -> Iterator[tuple[APIClient, Callable[[], list[dict[str, Any]]]]]:
    """The tenant's API client, and what its own endpoint has received; the sink there verifies each signature."""
    settings.PUBLIC_BASE_URL = live_server.url
    api = make_client(tenant)
    endpoint = {"name": "own system", "url": f"{simulators.url}/sink/orders", "events": ["order.*"]}
    made = api.post("/api/v1/webhooks", endpoint, format="json")
    assert made.status_code == 201, made.json()
    control = f"{simulators.url}/control/sink/orders"
    requests.put(control, json={"secret": made.json()["secret"]}, timeout=10).raise_for_status()

    def received() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(control, timeout=10).json()
        return found

    yield api, received
    connections.close_all()


def test_receive_order_webhook(own_system: Any, tenant: Tenant, other_tenant: Tenant, until: Callable[..., Any]) -> None:
    api, received = own_system
    shop = Shop(api)

    # Taken in, stored, logged, published, delivered and verified.
    body, headers = shop.signed()
    taken = shop.send(body, headers)
    assert (taken.status_code, taken.content) == (200, b"{}")
    until(received)
    (told,) = received()
    assert told["verified"] is True, told
    event = json.loads(told["body"])
    assert (event["type"], event["data"]["object"]) == (
        "order.created",
        {"id": "ord_1001", "total": 450_000, "currency": "KES", "items": ORDER["data"]["lines"]},  # type: ignore[index]
    )
    receipt = Receipt.unscoped.get()
    assert (receipt.tenant_id, receipt.status, bytes(receipt.body)) == (tenant.pk, "processed", body)
    log = CallLog.unscoped.get(tenant=tenant, direction="inbound")
    assert (log.reference_id, log.external_reference) == (shop.id, str(receipt.pk))

    # The same again, as it was and newly signed: the same acknowledgement, no second event.
    for again in ((body, headers), shop.signed(), (body, {**headers, "X-Shop-Event": "e-2"})):
        repeated = shop.send(*again)
        assert (repeated.status_code, repeated.content) == (taken.status_code, taken.content)
    assert Receipt.unscoped.get().duplicates == 3
    assert QueueItem.unscoped.filter(kind="webhook.process").count() == 1
    assert Event.unscoped.count() == 1

    # Forged and late ones leave a count and nothing else.
    assert shop.send(body.replace(b"450000", b"450001"), headers).status_code == 401
    late = shop.send(*shop.signed(event="e-3", at=time.time() - 301))
    assert (late.status_code, late.json()["errors"][0]["code"]) == (401, "replay_window")
    assert Receipt.unscoped.count() == 1
    shown = api.get(f"{SOURCES}/{shop.id}").json()
    assert (shown["received"], shown["rejected"]) == (1, 2)

    # A rotated secret counts for the overlap; without one it is over at once.
    former = shop.signed(another("e-4"), event="e-4")
    rotated = api.post(f"{SOURCES}/{shop.id}/rotate-secret", {"overlap_seconds": 600}, format="json").json()
    assert shop.send(*former).status_code == 200
    shop.secret = rotated["secret"]
    assert shop.send(*shop.signed(another("e-5"), event="e-5")).status_code == 200
    superseded = shop.signed(another("e-6"), event="e-6")
    shop.secret = api.post(f"{SOURCES}/{shop.id}/rotate-secret", {"overlap_seconds": 0}, format="json").json()["secret"]
    assert shop.send(*superseded).status_code == 401
    assert shop.send(*shop.signed(another("e-7"), event="e-7")).status_code == 200
    until(lambda: len(received()) == 4)
    assert all(each["verified"] for each in received())

    # Nobody else sees any of it.
    other = make_client(other_tenant)
    assert other.get(f"{SOURCES}/{shop.id}").status_code == 404
    assert other.get(SOURCES).json()["results"] == []
    assert other.get("/api/v1/integrations/logs").json()["results"] == []
    assert InboundEndpoint.unscoped.get().tenant_id == tenant.pk
