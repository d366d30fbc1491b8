"""Senders of all schemes, as their makers describe them: written apart from the code that checks them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from django.db import transaction
from django.test import Client
from django_scopes import scope

from integrations.contracts import clock
from integrations.models import QueueItem
from integrations.runtime import jobs
from webhooks.inbound.models import InboundEndpoint, Receipt, Rejection
from webhooks.outbound.models import Event

ORDER = {
    "id": "ord_1",
    "number": "1001",
    "total": 450000,
    "currency": "KES",
    "items": [{"product": "print-20x30", "quantity": 2}],
}


def hmac_hex(secret: str, content: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), content, getattr(hashlib, algorithm)).hexdigest()


def body_of(content: Any = ORDER) -> bytes:
    return json.dumps(content).encode()


def plain(secret: str, body: bytes) -> dict[str, str]:
    return {"X-Signature": hmac_hex(secret, body)}


def stripe_like(secret: str, body: bytes, at: datetime | None = None) -> dict[str, str]:
    stamp = str(int((at or clock.now()).timestamp()))
    return {"X-Signature": f"t={stamp},v1={hmac_hex(secret, stamp.encode() + b'.' + body)}"}


def slack(secret: str, body: bytes, at: datetime | None = None) -> dict[str, str]:
    stamp = str(int((at or clock.now()).timestamp()))
    signature = hmac_hex(secret, b"v0:" + stamp.encode() + b":" + body)
    return {"X-Slack-Signature": f"v0={signature}", "X-Slack-Request-Timestamp": stamp}


def github(secret: str, body: bytes, event: str = "push", delivery: str = "") -> dict[str, str]:
    more = {"X-GitHub-Delivery": delivery} if delivery else {}
    return {"X-Hub-Signature-256": f"sha256={hmac_hex(secret, body)}", "X-GitHub-Event": event, **more}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def path_of(endpoint: InboundEndpoint) -> str:
    return f"/hooks/{endpoint.token}"


def post(path: str, body: bytes, headers: dict[str, str] | None = None, *, kind: str = "application/json", **extra: Any) -> Any:
    """Send a request to the hub, as anybody can."""
    return Client(raise_request_exception=True).generic("POST", path, body, content_type=kind, headers=headers or {}, **extra)


def receipts() -> list[Receipt]:
    return list(Receipt.unscoped.order_by("id"))


def published() -> list[Event]:
    return list(Event.unscoped.order_by("created", "id"))


def rejected() -> dict[tuple[str, str], int]:
    """Return {(source, reason): count}."""
    return {(each.source, each.reason): each.count for each in Rejection.objects.all()}


def settle() -> None:
    """Work off what came in, as a worker does it, one after the other; none may fail."""
    for item in QueueItem.unscoped.filter(state="pending", kind="webhook.process").select_related("tenant").order_by("id"):
        with transaction.atomic(), scope(tenant=item.tenant):
            jobs.get(item.kind).run(item)  # type: ignore[union-attr]
        QueueItem.unscoped.filter(pk=item.pk).update(state="completed")
